"""Reading a range of commits into edits: git is asked once for the diffs and as rarely as can be for texts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from butfor.locating.blocks import Parser
from butfor.locating.edits import Edit, by_lines, by_regions, undo, without_moves
from butfor.locating.kinds import is_lock, kind_of
from butfor.locating.sources import PYTHON, Source, read
from butfor.ports.diffs import FileChange
from butfor.ports.repositories import Commit, Repository

MOST_FILES = 1200
"""How many (commit, file) pairs of Python code are parsed; later ones are read by their diff lines alone."""


@dataclass(frozen=True)
class History:
    """The commits of good..bad, newest first, with what they changed. `renames` maps old paths to bad's."""

    commits: list[Commit]
    changes: dict[str, list[FileChange]]
    edits: dict[str, list[Edit]] = field(default_factory=dict)
    renames: dict[str, str] = field(default_factory=dict)

    def subject(self, sha: str) -> str:
        """The first line of a commit's message."""
        return self._subjects.get(sha, "")

    @cached_property
    def _subjects(self) -> dict[str, str]:
        return {commit.sha: commit.subject for commit in self.commits}

    def at_bad(self, path: str) -> str:
        """The name that a file has at bad."""
        seen = {path}
        while (path := self.renames.get(path, path)) not in seen:
            seen.add(path)
        return path


def load(repository: Repository, good: str, bad: str, parser: Parser) -> History:
    """Read a range: git is asked once for all diffs, and for a file's text per unbroken run of commits."""
    commits = repository.commits(good, bad)
    changes = repository.range_changes(f"{good}..{bad}")
    history = History(commits, changes, renames=_renames(commits, changes))
    reader = _Reader(repository, parser)
    _fill(history, reader)
    return history


def _fill(history: History, reader: _Reader) -> None:
    for commit in history.commits:
        reader.enter(commit)
        edits = [e for change in history.changes.get(commit.sha, []) for e in reader.edits(commit.sha, change)]
        history.edits[commit.sha] = without_moves(edits)


class _Reader:
    """Walks commits newest first; a file's text before one commit is its text after the next older one.

    That holds along an unbroken run of single-parent commits; at each break texts are asked of git again.
    """

    def __init__(self, repository: Repository, parser: Parser) -> None:
        self.repository, self.parser = repository, parser
        self.budget = MOST_FILES
        self.expected: tuple[str, ...] = ()
        self.texts: dict[str, tuple[str, Source]] = {}

    def enter(self, commit: Commit) -> None:
        """Go on to the next older commit."""
        if self.expected != (commit.sha,):
            self.texts.clear()
        self.expected = commit.parents

    def edits(self, sha: str, change: FileChange) -> list[Edit]:
        """The edits of one file of the commit."""
        kind = kind_of(change.name)
        if change.binary or kind in ("test", "text") or is_lock(change.name):
            return []
        if kind != "code" or not change.name.endswith(PYTHON) or self.budget <= 0:
            return by_lines(change)
        self.budget -= 1
        text, new = self._after(sha, change)
        before = undo(text, change.hunks)
        old = read(before, change.old_path or change.name, self.parser)
        if change.old_path:
            self.texts[change.old_path] = (before, old)
        return by_regions(change, old, new)

    def _after(self, sha: str, change: FileChange) -> tuple[str, Source]:
        if change.path is None:
            return "", read("", change.name)
        known = self.texts.pop(change.path, None)
        if known is None:
            text = (self.repository.show(sha, change.path) or b"").decode("utf-8", "replace")
            known = (text, read(text, change.path, self.parser))
        return known


def _renames(commits: Iterable[Commit], changes: dict[str, list[FileChange]]) -> dict[str, str]:
    # newest first: the first answer for an old name is the one that lasted until bad
    found: dict[str, str] = {}
    for commit in commits:
        for change in changes.get(commit.sha, []):
            if change.path and change.old_path and change.path != change.old_path:
                found.setdefault(change.old_path, change.path)
    return found
