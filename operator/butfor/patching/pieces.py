"""Parts of a culprit's change down to single statements, moved into another tree while the rest stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from butfor.evidence.runs import Tree
from butfor.evidence.suspects import FunctionRef
from butfor.patching import edits, functions
from butfor.patching.attempts import Attempt, at_home, home, rank
from butfor.patching.sources import is_python
from butfor.patching.statements import Part, changed_parts
from butfor.patching.transfers import Change, View
from butfor.ports.repositories import Repository


@dataclass(frozen=True)
class Piece:
    """A part of one file of a change; `path` where the change starts, `function` the one it is in, if any."""

    path: str
    function: str
    part: Part


def roots(change: Change, hints: Sequence[FunctionRef]) -> list[list[Piece]]:
    """The largest parts of a change: those in likely functions, those in their files, the others."""
    found: list[Piece] = []
    for path in dict.fromkeys(unit.path for unit in change.units if unit.kind == "edit"):
        old, new = change.old(path), change.new(path)
        if old is None or new is None:
            continue
        named = functions.definitions(old) if is_python(path) else {}
        for part in changed_parts(path, old, new):
            first, last = part.edits[0].start, max(edit.end for edit in part.edits)
            found.append(Piece(path, functions.enclosing(named, first, last), part))
    found.sort(key=lambda piece: rank(piece.path, piece.function, hints))
    classes = groupby(found, key=lambda piece: rank(piece.path, piece.function, hints)[0])
    return [list(group) for _, group in classes]


def smaller(piece: Piece) -> list[Piece]:
    """The pieces that one is made of."""
    return [Piece(piece.path, piece.function, part) for part in piece.part.parts]


def count(pieces: Sequence[Piece]) -> int:
    """How many statements they hold."""
    return sum(not part.parts for piece in pieces for part in piece.part.walk())


def moved(change: Change, base: View, piece: Piece, whole: int) -> Attempt | None:
    """The tree with this piece moved; None where some of it has no place. `whole`: statements of the whole change."""
    tree = _placed(change, base, piece)
    own = _placed(change, home(change), piece)
    if tree is None or own is None or tree.tree.overlay == base.tree.overlay:
        return None
    some = count([piece])
    words = f"in part ({some} of {whole} changed statements, in {piece.path}: `{piece.part.label}`): by statement"
    labelled = tree.tree.model_copy(update={"label": words})
    return Attempt(labelled, words, "hunks", complete=False, controls=(at_home(change, own.tree),))


def _placed(change: Change, base: View, piece: Piece) -> View | None:
    where, old = base.now(piece.path, change.source), change.old(piece.path)
    content = base.read(where) if where is not None else None
    if where is None or content is None or old is None:
        return None
    placed = edits.transplant(old, content, piece.part.edits)
    return None if placed.conflicts else base.with_files({where: edits.apply(content, placed.edits)})


def share(repository: Repository, tree: Tree, culprit: str) -> tuple[int, int]:
    """How many statements a patch (`tree`) changes, and how many the culprit does; a whole file counts as one."""
    patched = sum(
        _statements(path, repository.show(tree.revision, path), content) for path, content in tree.overlay.items()
    )
    parent = next(iter(repository.parents(culprit)), culprit)
    change = Change(repository, culprit, parent)
    whole = sum(unit.kind != "edit" for unit in change.units)
    return patched, whole + sum(count(group) for group in roots(change, ()))


def _statements(path: str, old: bytes | None, new: bytes | None) -> int:
    if old is None or new is None:
        return 1
    return sum(not small.parts for part in changed_parts(path, old, new) for small in part.walk())
