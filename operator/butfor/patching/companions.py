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

from butfor.patching import edits
from butfor.patching.edits import Edit
from butfor.patching.sources import is_source
from butfor.patching.transfers import Carried, Change, Unit, View, carry
from butfor.ports.diffs import FileChange
from butfor.ports.repositories import Repository

LIMIT = 12
"""A culprit that needs more companions than this is no longer tested by itself."""
IDENTIFIER = re.compile(r"[A-Za-z_]\w{2,}")


@dataclass(frozen=True)
class Chain:
    """Commits from the culprit's side outwards. `forward`: later commits up to bad, else earlier ones down to good."""

    repository: Repository
    culprit: str
    good: str
    bad: str
    forward: bool

    @cached_property
    def _range(self) -> str:
        return f"{self.culprit}..{self.bad}" if self.forward else f"{self.good}..{self.culprit}"

    @cached_property
    def commits(self) -> list[str]:
        """Nearest to the culprit first, the culprit left out; only its ancestors or descendants count."""
        old, new = self._range.split("..")
        listed = [c.sha for c in self.repository.commits(old, new) if c.sha != self.culprit]
        return list(reversed(listed)) if self.forward else listed

    @cached_property
    def changes(self) -> dict[str, list[FileChange]]:
        """Per commit its changes in source files."""
        every = self.repository.range_changes(self._range)
        return {sha: [f for f in every.get(sha, []) if is_source(f.name)] for sha in self.commits}

    def touching(self, path: str) -> list[str]:
        """Commits that changed a file, nearest first."""
        return [sha for sha in self.commits if any(path in {f.path, f.old_path} for f in self.changes[sha])]

    def related(self, sha: str) -> bool:
        """Whether the commit stands in the culprit's line: a side branch that lacks it says nothing of its hunks."""
        older, newer = (self.culprit, sha) if self.forward else (sha, self.culprit)
        return self.repository.is_ancestor(older, newer)

    def beyond(self, sha: str, path: str) -> bytes | None:
        """The file as it is on the far side of a commit: after it when going forward, else before it."""
        return self.repository.show(sha if self.forward else f"{sha}^", path)

    def change(self, sha: str) -> Change:
        """The commit as it is moved: taken out when going forward, put in otherwise."""
        ends = (sha, f"{sha}^") if self.forward else (f"{sha}^", sha)
        return Change(self.repository, *ends, label=sha)

    def blocker(self, path: str, base: bytes, edit: Edit, after: str | None) -> str | None:
        """The nearest commit beyond which an edit of `base` has no place any more; `after` bounds the walk."""
        start = self.commits.index(after) + 1 if after in self.commits else 0
        later = set(self.commits[start:])
        for sha in self.touching(path):
            if sha in later and self.related(sha):
                content = self.beyond(sha, path)
                if content is None or edits.transplant(base, content, [edit]).conflicts:
                    return sha
        return None


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


def close(chain: Chain, change: Change, base: View, start: Iterable[str] = ()) -> Company | None:
    """The companions without which some hunk has no place, and theirs in turn; None beyond `LIMIT` or at a dead end."""
    needed = set(start)
    while len(needed) <= LIMIT:
        found = _first_conflict(chain, change, base, needed)
        if found is None:
            return assemble(chain, change, base, needed)
        owner, carried = found
        blocker = _blocker(chain, chain.change(owner) if owner else change, owner, carried)
        if blocker is None or blocker in needed:
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


def _blocker(chain: Chain, change: Change, owner: str, carried: Carried) -> str | None:
    for unit in carried.conflicts:
        base = change.old(unit.path)
        for edit in unit.edits if base is not None else ():
            found = chain.blocker(unit.path, base or b"", edit, owner or None)
            if found is not None:
                return found
        if not unit.edits:
            touching = [sha for sha in chain.touching(unit.path) if sha != owner and chain.related(sha)]
            if touching:
                return touching[0]
    return None


def introducers(chain: Chain, change: Change, view: View) -> list[str]:
    """Commits of the chain that brought in names which the change's new lines use and its files lack in the view."""
    known = {path: _identifiers(view.read(path)) for path in {unit.path for unit in change.units}}
    wanted: set[str] = set()
    for unit in change.units:
        text = b"".join(line for edit in unit.edits for line in edit.new)
        text += (change.repository.show(change.target, unit.path) or b"") if unit.kind == "add" else b""
        wanted |= _identifiers(text) - known[unit.path]
    patterns = [_binding(name) for name in sorted(wanted)[:200]]
    return [sha for sha in chain.commits if chain.related(sha) and _brings(chain.changes[sha], patterns)]


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
