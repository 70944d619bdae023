"""From a tree that heals to patch candidates: as small as heals, in the order in which they should be verified.

Order, and why:
1. the smallest set of whole hunks that heals. A hunk is what its author thought
   of as one change; part of one can fit the one captured request and miss the next way into the same fault;
2. where two disjoint sets heal, first the one whose functions are referred to from more places: undoing a shared
   function's defect heals every caller, undoing a caller's use of it heals that caller;
3. the smallest set of statements: it keeps more of the culprit's feature, where whole hunks fail the service's tests;
4. every other block, statement or expression of one that heals when it alone is put back, the smallest first, for the
   same reason;
5. the whole tree that healed; before 4 where little time is left, for it needs no search.
A candidate that takes out half of a change (`leftovers`) goes behind all that do not, and the whole then before 4.

Each is looked for only when it is asked for: where the first passes its checks, the others cost nothing.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from butfor.errors import UserError
from butfor.evidence.predicates import Judgement
from butfor.evidence.runs import Runner, Tree
from butfor.evidence.suspects import FunctionRef
from butfor.patching import diffs, edits, expressions, functions
from butfor.patching.attempts import rank
from butfor.patching.ddmin import ddmin
from butfor.patching.edits import Edit
from butfor.patching.leftovers import leftovers
from butfor.patching.sources import is_python, is_source
from butfor.patching.statements import Part, changed_parts
from butfor.patching.trying import Healing, Tries
from butfor.ports.repositories import Repository

MAXIMUM_FILES_SEARCHED = 400
ALONE = 8
"""So many functions are tried alone before sets of them are."""
LEISURE = 0.5
"""Share of the time that must be left to look for a second set of hunks before the first is verified, and for single
parts before the whole is."""
MOST_NAMED = 3
LEVELS = 8
"""How deep blocks within blocks are tried."""


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
    hints: Sequence[FunctionRef] = (),
    repeats: int = 2,
    budget: int = 80,
    seconds: float = 180.0,
    deadline: float | None = None,
    watch: Callable[[str], None] = lambda _: None,
) -> Iterator[PatchCandidate]:
    """Candidates from the healing trees, in the order above; none when there is no healing tree of `bad`.

    `hints`: functions that are likely to matter, tried first. `seconds`: for the search, what a caller does with a
    candidate not counted; when they are used up, the smallest that was found so far are the candidates.
    """
    bad = repository.resolve(bad)
    end = time.monotonic() + seconds
    tries = Tries(runner, budget, end if deadline is None else min(end, deadline), repeats)
    work = _Minimising(repository, tries, bad, hints, watch)
    seen: set[bytes] = {b""}
    for tree in healing:
        if tree.tree.revision == bad:
            for candidate in work.candidates(tree):
                if candidate.diff not in seen:
                    seen.add(candidate.diff)
                    watch(f"candidate: {candidate.rule}, {candidate.size} lines, after {tries.runs} runs")
                    paused = time.monotonic()
                    yield candidate
                    tries.postpone(time.monotonic() - paused, deadline)


class _Minimising:
    """Delta debugging over the pieces of one healing tree after another."""

    def __init__(
        self,
        repository: Repository,
        tries: Tries,
        bad: str,
        hints: Sequence[FunctionRef],
        watch: Callable[[str], None],
    ) -> None:
        self.repository, self.tries, self.bad, self.hints, self.watch = repository, tries, bad, hints, watch

    def candidates(self, healing: Healing) -> Iterator[PatchCandidate]:
        """In the order above, those that leave half of a change behind at the end."""
        late: list[PatchCandidate] = []
        for candidate in self._ordered(healing):
            if left := self._left(candidate, healing):
                self.watch(f"put off, for it leaves unread: {', '.join(sorted(left)[:MOST_NAMED])}")
                late.append(candidate)
            else:
                yield candidate
        yield from late

    def _left(self, candidate: PatchCandidate, healing: Healing) -> set[str]:
        return leftovers(partial(self.repository.show, self.bad), candidate.tree.overlay, healing.tree.overlay)

    def _ordered(self, healing: Healing) -> Iterator[PatchCandidate]:
        pieces = self._pieces(healing.tree)
        sources = [piece for piece in pieces if is_source(piece.path)]
        everything = sources if sources and self._heals(sources) == "good" else pieces
        whole = self._candidate(everything, healing.origin, "the whole of what healed")
        if everything is sources or self._heals(everything) == "good":
            halved = True
            for candidate in self._smaller(everything):
                halved = halved and bool(self._left(candidate, healing))
                yield candidate
            if halved or self.tries.left <= LEISURE:
                yield whole  # it needs no search
            for tree in self._blocks(self._tree(everything)):
                yield candidate_of(self.repository, tree, "hunks", "a part that heals when it alone is put back")
        yield whole

    def _smaller(self, everything: list[_Piece]) -> Iterator[PatchCandidate]:
        smallest = self._smallest(everything)
        # a second set only decides the order: where the first took long, its verification is worth more
        sets = [smallest, *(self._disjoint(everything, smallest) if self.tries.left > LEISURE else [])]
        if sets[1:]:
            sets.sort(key=self._shared, reverse=True)
        rule = "the smallest set of hunks that heals" + (", the more widely used function first" if sets[1:] else "")
        for some in sets:
            yield self._candidate(some, "hunks", rule)
        yield self._candidate(self._by_statement(sets[0]), "hunks", "the smallest set of statements that heals")

    def _blocks(self, healed: Tree) -> list[Tree]:
        """Trees with one part of the difference put back that heal; nothing below a part that makes no difference."""
        found: list[tuple[int, Tree]] = []
        level = [part for path, new in sorted(healed.overlay.items()) for part in self._parts(path, new)]
        for _ in range(LEVELS):
            below: list[Part] = []
            for part in level:
                path = part.edits[0].path
                new = edits.apply(self.repository.show(self.bad, path) or b"", part.edits)
                tree = Tree(revision=self.bad, overlay={path: new}, label="block")
                judgement = self.tries.judge(tree)
                if judgement == "good":
                    found.append((sum(edit.end - edit.start + len(edit.new) for edit in part.edits), tree))
                    found += self._expressions(part)
                if judgement != "bad":
                    below += part.parts
            level = below
        return [tree for _, tree in sorted(found, key=lambda one: one[0])]

    def _expressions(self, part: Part) -> list[tuple[int, Tree]]:
        """Trees with one expression of a statement put back that heal; they go before the statement as a whole."""
        if part.parts or len(part.edits) != 1:
            return []
        path, old = part.edits[0].path, self.repository.show(self.bad, part.edits[0].path) or b""
        trees = [
            Tree(revision=self.bad, overlay={path: edits.apply(old, [edit])}, label="expression")
            for edit in expressions.narrower(old, part.edits[0])
        ]
        return [(0, tree) for tree in trees if self.tries.judge(tree) == "good"]

    def _parts(self, path: str, new: bytes | None) -> list[Part]:
        old = self.repository.show(self.bad, path)
        return changed_parts(path, old, new) if old is not None and new is not None else []

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
        """Functions first, then hunks: what a function does not need as a whole need not be cut up.

        Likely functions are tried alone at first, since one is mostly enough.
        """
        groups: dict[tuple[str, str], list[_Piece]] = {}
        for piece in pieces:
            groups.setdefault((piece.path, self._function(piece)), []).append(piece)
        ranked = sorted(groups, key=lambda where: (rank(where[0], where[1], self.hints), len(groups[where])))
        self.watch(f"looking for the least of {len(pieces)} hunks in {len(groups)} functions that heals")
        alone = (groups[where] for where in ranked[:ALONE]) if len(groups) > 1 else ()
        least = next((group for group in alone if self._heals(group) == "good"), None)
        if least is None:
            ordered = [groups[where] for where in ranked]
            kept = ddmin(ordered, lambda some: self._heals([p for group in some for p in group]))
            least = [piece for group in kept for piece in group]
        return ddmin(least, self._heals)

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
