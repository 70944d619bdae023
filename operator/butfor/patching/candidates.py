"""From a tree that heals to patch candidates: as small as heals, in the order in which they should be verified.

Order, and why:
1. the smallest set of whole hunks that heals. A hunk is what its author thought
   of as one change; part of one can fit the one captured request and miss the next way into the same fault;
2. where two disjoint sets heal, first the one whose functions are referred to from more places: undoing a shared
   function's defect heals every caller, undoing a caller's use of it heals that caller;
3. the smallest set of statements: it keeps more of the culprit's feature, where whole hunks fail the service's tests;
4. the whole tree that healed.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from butfor.errors import UserError
from butfor.evidence.predicates import Judgement
from butfor.evidence.runs import Runner, Tree
from butfor.patching import diffs, edits, functions
from butfor.patching.ddmin import ddmin
from butfor.patching.edits import Edit
from butfor.patching.sources import is_python, is_source
from butfor.patching.trying import Healing, Tries
from butfor.ports.repositories import Repository

MAXIMUM_FILES_SEARCHED = 400


@dataclass(frozen=True)
class PatchCandidate:
    """A patch of bad that was seen to heal. `origin`: `revert`, `hunks`, `functions` or `model`; `size` in lines."""

    tree: Tree
    origin: str
    rule: str
    diff: bytes
    size: int


@dataclass(frozen=True)
class _Piece:
    """A part that can be left out: one edit with the lines that it replaces, or a whole file that one side lacks."""

    path: str
    edit: Edit | None
    whole: bytes | None = None
    old: tuple[bytes, ...] = ()


def minimise(
    repository: Repository,
    runner: Runner,
    healing: Sequence[Healing],
    bad: str,
    *,
    repeats: int = 2,
    budget: int = 60,
    deadline: float | None = None,
) -> list[PatchCandidate]:
    """Candidates from the healing trees, in the order above; empty when there is no healing tree of `bad`."""
    bad = repository.resolve(bad)
    work = _Minimising(repository, Tries(runner, budget, deadline, repeats), bad)
    found: list[PatchCandidate] = []
    for tree in healing:
        if tree.tree.revision == bad:
            found += work.candidates(tree)
    distinct: dict[bytes, PatchCandidate] = {}
    for candidate in found:
        distinct.setdefault(candidate.diff, candidate)
    return [candidate for diff, candidate in distinct.items() if diff]


class _Minimising:
    """Delta debugging over the pieces of one healing tree after another."""

    def __init__(self, repository: Repository, tries: Tries, bad: str) -> None:
        self.repository, self.tries, self.bad = repository, tries, bad

    def candidates(self, healing: Healing) -> list[PatchCandidate]:
        pieces = self._pieces(healing.tree)
        sources = [piece for piece in pieces if is_source(piece.path)]
        everything = sources if sources and self._heals(sources) == "good" else pieces
        whole = self._candidate(everything, healing.origin, "the whole of what healed")
        if everything is not sources and self._heals(everything) != "good":
            return [whole]
        smallest = self._smallest(everything)
        sets = [smallest, *self._disjoint(everything, smallest)]
        if sets[1:]:
            sets.sort(key=self._shared, reverse=True)
        rule = "the smallest set of hunks that heals" + (", the more widely used function first" if sets[1:] else "")
        listed = [self._candidate(some, "hunks", rule) for some in sets]
        fewest = self._by_statement(sets[0])
        return [*listed, self._candidate(fewest, "hunks", "the smallest set of statements that heals"), whole]

    def _pieces(self, tree: Tree) -> list[_Piece]:
        found: list[_Piece] = []
        for path, new in sorted(tree.overlay.items()):
            old = self.repository.show(self.bad, path)
            if old is None or new is None:
                found.append(_Piece(path, None, new))
            else:
                lines = edits.split(old)
                changed = edits.between(path, old, new)
                found += [_Piece(path, edit, old=tuple(lines[edit.start : edit.end])) for edit in changed]
        return found

    def _tree(self, pieces: Sequence[_Piece], label: str = "minimise") -> Tree:
        overlay: dict[str, bytes | None] = {piece.path: piece.whole for piece in pieces if piece.edit is None}
        for path in dict.fromkeys(piece.path for piece in pieces if piece.edit is not None):
            chosen = [piece.edit for piece in pieces if piece.path == path and piece.edit is not None]
            overlay[path] = edits.apply(self.repository.show(self.bad, path) or b"", chosen)
        return Tree(revision=self.bad, overlay=overlay, label=label)

    def _heals(self, pieces: list[_Piece]) -> Judgement:
        return self.tries.judge(self._tree(pieces))

    def _smallest(self, pieces: list[_Piece]) -> list[_Piece]:
        """Functions first, then hunks: what a function does not need as a whole need not be cut up."""
        groups: dict[tuple[str, str], list[_Piece]] = {}
        for piece in pieces:
            groups.setdefault((piece.path, self._function(piece)), []).append(piece)
        kept = ddmin(list(groups.values()), lambda some: self._heals([p for group in some for p in group]))
        return ddmin([piece for group in kept for piece in group], self._heals)

    def _disjoint(self, pieces: list[_Piece], found: list[_Piece]) -> list[list[_Piece]]:
        rest = [piece for piece in pieces if piece not in found]
        return [self._smallest(rest)] if rest and self._heals(rest) == "good" else []

    def _by_statement(self, pieces: list[_Piece]) -> list[_Piece]:
        atoms = [part for piece in pieces for part in _atoms(piece)]
        return ddmin(atoms, self._heals) if len(atoms) > len(pieces) else pieces

    def _function(self, piece: _Piece) -> str:
        if piece.edit is None or not is_python(piece.path):
            return ""
        content = self.repository.show(self.bad, piece.path) or b""
        return functions.enclosing(functions.definitions(content), piece.edit.start, piece.edit.end)

    def _shared(self, pieces: list[_Piece]) -> int:
        """From how many places of the source the changed functions are named; only names defined once can tell."""
        names = {self._function(piece).rpartition(".")[2].encode() for piece in pieces} - {b""}
        paths = [p for p in self.repository.files(self.bad) if is_python(p) and is_source(p)]
        source = b"\n".join(self.repository.show(self.bad, path) or b"" for path in paths[:MAXIMUM_FILES_SEARCHED])
        counts = [len(re.findall(rb"\b%s\b" % re.escape(n), source)) for n in names if _defined_once(n, source)]
        return sum(counts)

    def _candidate(self, pieces: Sequence[_Piece], origin: str, rule: str) -> PatchCandidate:
        tree = self._tree(pieces, label=rule)
        return candidate_of(self.repository, tree, origin, rule)


def _defined_once(name: bytes, source: bytes) -> bool:
    return len(re.findall(rb"\bdef\s+%s\b" % re.escape(name), source)) == 1


def candidate_of(repository: Repository, tree: Tree, origin: str, rule: str) -> PatchCandidate:
    """A candidate with its diff against the tree's revision."""
    diff = diffs.unified(lambda path: repository.show(tree.revision, path), tree.overlay)
    size = sum(1 for line in diff.split(b"\n") if line[:1] in {b"+", b"-"} and line[:4] not in {b"+++ ", b"--- "})
    return PatchCandidate(tree, origin, rule, diff, size)


def _atoms(piece: _Piece) -> list[_Piece]:
    """A piece cut to statements; a whole file stays whole."""
    edit = piece.edit
    if edit is None:
        return [piece]
    parts = edits.by_statement(edit, piece.old)
    return [_Piece(p.path, p, old=piece.old[p.start - edit.start : p.end - edit.start]) for p in parts]


def write_patch(folder: Path, candidate: PatchCandidate) -> Path:
    """Write `patch.diff` into a folder (made if need be), whole or not at all."""
    if not candidate.diff:
        raise UserError("the patch is empty; there is nothing to write")
    folder.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, prefix=".patch-")
    with os.fdopen(handle, "wb") as file:
        file.write(candidate.diff)
    path = folder / "patch.diff"
    Path(name).chmod(0o644)
    Path(name).replace(path)
    return path
