"""The smallest set of neighbouring commits that a culprit must be moved together with.

Taken out of bad, a culprit may drag along later commits that build on it; put into good, it may need earlier
ones. Which ones is read from where its hunks stop finding their place, and, for earlier commits, from the names that it
uses and they brought in. A `Chain` lists the commits from the culprit's side to the tree's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property

from butfor.evidence.runs import Tree
from butfor.patching import edits, functions
from butfor.patching.edits import Edit
from butfor.patching.sources import is_source
from butfor.patching.transfers import Carried, Change, Unit, View, carry
from butfor.ports.diffs import FileChange
from butfor.ports.repositories import Repository

LIMIT = 40
"""A culprit that needs more companions than this is not worth the search."""
IDENTIFIER = re.compile(r"[A-Za-z_]\w{2,}")


@dataclass(frozen=True)
class Chain:
    """Commits from the culprit's side outwards. `forward`: later commits up to bad, else earlier ones down to good."""

    repository: Repository
    culprit: str
    good: str
    bad: str
    forward: bool
    _made: dict[str, Change] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def _range(self) -> str:
        return f"{self.culprit}..{self.bad}" if self.forward else f"{self.good}..{self.culprit}"

    @cached_property
    def commits(self) -> list[str]:
        """In the culprit's own line, nearest first, the culprit left out: a side branch says nothing of its hunks."""
        old, new = self._range.split("..")
        listed = self.repository.commits(old, new)
        if not self.forward:
            return [commit.sha for commit in listed if commit.sha != self.culprit]
        line = {self.culprit}
        for commit in reversed(listed):
            if line.intersection(commit.parents):
                line.add(commit.sha)
        return [commit.sha for commit in reversed(listed) if commit.sha in line]

    @cached_property
    def changes(self) -> dict[str, list[FileChange]]:
        """Per commit its changes in source files."""
        every = self.repository.range_changes(self._range)
        return {sha: [f for f in every.get(sha, []) if is_source(f.name)] for sha in self.commits}

    def touching(self, path: str) -> list[str]:
        """Commits that changed a file, nearest first."""
        return [sha for sha in self.commits if any(path in {f.path, f.old_path} for f in self.changes[sha])]

    def changing(self, units: Iterable[Unit]) -> list[str]:
        """Commits that changed one of these functions, nearest first."""
        wanted = [unit for unit in units if unit.function]
        return [sha for sha in self.commits if any(self._changes(sha, unit) for unit in wanted)]

    def _changes(self, sha: str, unit: Unit) -> bool:
        if not any(unit.path in {change.path, change.old_path} for change in self.changes[sha]):
            return False
        sides = [self.repository.show(revision, unit.path) for revision in (f"{sha}^", sha)]
        texts = [functions.definitions(side).get(unit.function) if side is not None else None for side in sides]
        before, after = (one.text if one else None for one in texts)
        return before != after

    def beyond(self, sha: str, path: str) -> bytes | None:
        """The file as it is on the far side of a commit: after it when going forward, else before it."""
        return self.repository.show(sha if self.forward else f"{sha}^", path)

    def change(self, sha: str) -> Change:
        """The commit as it is moved: taken out when going forward, put in otherwise."""
        if sha not in self._made:
            ends = (sha, f"{sha}^") if self.forward else (f"{sha}^", sha)
            self._made[sha] = Change(self.repository, *ends, label=sha)
        return self._made[sha]

    def undone(self, sha: str) -> Change:
        """The other way round than `change`."""
        key = f"{sha} undone"
        if key not in self._made:
            forth = self.change(sha)
            self._made[key] = Change(self.repository, forth.target, forth.source, label=sha)
        return self._made[key]

    def outside(self, path: str, owner: str, needed: set[str]) -> list[str]:
        """Commits that touch a file beyond `owner` (the culprit: empty) and are not needed yet, nearest first."""
        start = self.commits.index(owner) + 1 if owner else 0
        later = set(self.commits[start:]) - needed
        return [sha for sha in self.touching(path) if sha in later]

    def blocks(self, sha: str, path: str, base: bytes, edit: Edit) -> bool:
        """Whether an edit of `base` has no place any more on the far side of a commit."""
        content = self.beyond(sha, path)
        return content is None or bool(edits.transplant(base, content, [edit]).conflicts)


@dataclass
class Company:
    """A set of companions carried with the culprit: `alone` without it, `together` with it."""

    commits: list[str]
    alone: View
    together: View
    conflicts: list[Unit] = field(default_factory=list)


def assemble(chain: Chain, change: Change, base: View, commits: Iterable[str]) -> Company:
    """Carry companions, the farthest from the culprit first, then the culprit."""
    ordered = sorted(set(commits), key=chain.commits.index, reverse=True)
    view, conflicts = base, list[Unit]()
    for sha in ordered:
        carried = carry(chain.change(sha), view, "hunks")
        view, conflicts = carried.view, conflicts + carried.conflicts
    together = carry(change, view, "hunks")
    return Company(ordered, view, together.view, conflicts + together.conflicts)


def without(chain: Chain, change: Change, kept: Iterable[str]) -> Company:
    """The culprit's parent less the commits of the chain that are not kept, the nearest taken out first."""
    wanted = set(kept)
    view = View(chain.repository, Tree(revision=change.source))
    conflicts = list[Unit]()
    for sha in chain.commits:
        if sha not in wanted and chain.change(sha).units:
            carried = carry(chain.undone(sha), view, "hunks")
            view, conflicts = carried.view, conflicts + carried.conflicts
            if conflicts:
                break
    together = carry(change, view, "hunks")
    return Company(sorted(wanted, key=chain.commits.index), view, together.view, conflicts + together.conflicts)


def close(chain: Chain, change: Change, base: View, start: Iterable[str] = ()) -> Company | None:
    """The companions without which some hunk has no place, and theirs in turn; None beyond `LIMIT` or at a dead end."""
    needed = set(start)
    while len(needed) <= LIMIT:
        found = _first_conflict(chain, change, base, needed)
        if found is None:
            return assemble(chain, change, base, needed)
        owner, carried = found
        blocker = _blocker(chain, chain.change(owner) if owner else change, owner, carried, needed)
        if blocker is None:
            return None
        needed.add(blocker)
    return None


def _first_conflict(chain: Chain, change: Change, base: View, needed: set[str]) -> tuple[str, Carried] | None:
    view = base
    for sha in sorted(needed, key=chain.commits.index, reverse=True):
        carried = carry(chain.change(sha), view, "hunks")
        if carried.conflicts:
            return sha, carried
        view = carried.view
    carried = carry(change, view, "hunks")
    return ("", carried) if carried.conflicts else None


def _blocker(chain: Chain, change: Change, owner: str, carried: Carried, needed: set[str]) -> str | None:
    """The nearest commit beyond which a conflicting edit has no place; else the nearest that touches its file."""
    nearest: str | None = None
    for unit in carried.conflicts:
        base = change.old(unit.path)
        outside = chain.outside(unit.path, owner, needed)
        nearest = nearest or next(iter(outside), None)
        for edit in unit.edits if base is not None else ():
            for sha in outside:
                if chain.blocks(sha, unit.path, base or b"", edit):
                    return sha
    return nearest


def introducers(chain: Chain, change: Change, view: View) -> list[str]:
    """Commits of the chain that brought in names which the change's new lines use and its files lack in the view."""
    known = {path: _identifiers(view.read(path)) for path in {unit.path for unit in change.units}}
    wanted: set[str] = set()
    for unit in change.units:
        text = b"".join(line for edit in unit.edits for line in edit.new)
        text += (change.repository.show(change.target, unit.path) or b"") if unit.kind == "add" else b""
        wanted |= _identifiers(text) - known[unit.path]
    patterns = [_binding(name) for name in sorted(wanted)[:200]]
    return [sha for sha in chain.commits if _brings(chain.changes[sha], patterns)]


def _identifiers(content: bytes | None) -> set[str]:
    return set(IDENTIFIER.findall((content or b"").decode("utf-8", "replace")))


def _binding(name: str) -> re.Pattern[str]:
    """Lines that define a name: def, class, assignment, attribute, parameter."""
    escaped = re.escape(name)
    return re.compile(rf"\b(?:def|class)\s+{escaped}\b|(?:^|[\s.(,]){escaped}\s*(?::[^=]*)?=[^=]")


def _brings(changes: list[FileChange], patterns: list[re.Pattern[str]]) -> bool:
    added = "\n".join(line for change in changes for hunk in change.hunks for line in hunk.added)
    removed = "\n".join(line for change in changes for hunk in change.hunks for line in hunk.removed)
    return any(pattern.search(added) and not pattern.search(removed) for pattern in patterns)


def fewer(commits: list[str], works: Callable[[list[str]], bool]) -> list[str]:
    """Drop companions one at a time, and halves first where there are many, while `works` stays true."""
    kept = list(commits)
    size = max(1, len(kept) // 2)
    while size:
        position = 0
        while position < len(kept):
            smaller = kept[:position] + kept[position + size :]
            if works(smaller):
                kept = smaller
            else:
                position += size
        size //= 2
    return kept
