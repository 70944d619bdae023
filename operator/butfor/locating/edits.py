"""What each commit of a range changed, as statements added to and removed from regions.

Only what changes meaning is kept: a statement that stands on both sides of a commit's diff of a file (reformatted,
re-indented, moved) cancels out. Merges carry what the merge itself changed; that is what `changes` gives for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from butfor.locating.kinds import kind_of
from butfor.locating.sources import MODULE, PYTHON, Region, Source, Statement, read
from butfor.ports.diffs import FileChange, Hunk
from butfor.ports.repositories import Commit, Repository

MOST_FILES = 1200
"""How many (commit, file) pairs of Python code are parsed; later ones are read by their diff lines alone."""


@dataclass(frozen=True)
class Edit:
    """What one commit changed in one region: `path` is the file's name at the commit, `region` a dotted name."""

    path: str
    region: str
    added: tuple[Statement, ...] = ()
    removed: tuple[Statement, ...] = ()
    moved: frozenset[str] = frozenset()
    """Texts that the same commit took from, or gave to, another region."""

    @property
    def size(self) -> int:
        """How many statements changed."""
        return len(self.added) + len(self.removed)


@dataclass(frozen=True)
class History:
    """The commits of good..bad, newest first, with what they changed. `renames` maps old paths to bad's."""

    commits: list[Commit]
    changes: dict[str, list[FileChange]]
    edits: dict[str, list[Edit]] = field(default_factory=dict)
    renames: dict[str, str] = field(default_factory=dict)

    def at_bad(self, path: str) -> str:
        """The name that a file has at bad."""
        seen = {path}
        while (path := self.renames.get(path, path)) not in seen:
            seen.add(path)
        return path


def load(repository: Repository, good: str, bad: str) -> History:
    """Read a range: one git process for the diffs, one per file and unbroken run of commits for its text."""
    commits = repository.commits(good, bad)
    changes = repository.range_changes(f"{good}..{bad}")
    history = History(commits, changes, renames=_renames(commits, changes))
    reader = _Reader(repository)
    for commit in commits:
        reader.enter(commit)
        edits = [e for change in changes.get(commit.sha, []) for e in reader.edits(commit.sha, change)]
        history.edits[commit.sha] = _without_moves(edits)
    return history


class _Reader:
    """Walks commits newest first; a file's text before one commit is its text after the next older one.

    That holds along an unbroken run of single-parent commits; at each break texts are asked of git again.
    """

    def __init__(self, repository: Repository) -> None:
        self.repository = repository
        self.budget = MOST_FILES
        self.expected: tuple[str, ...] = ()
        self.texts: dict[str, tuple[str, Source]] = {}
        self.parsed: dict[tuple[str, str], Source] = {}

    def enter(self, commit: Commit) -> None:
        """Go on to the next older commit."""
        if self.expected != (commit.sha,):
            self.texts.clear()
        self.expected = commit.parents

    def edits(self, sha: str, change: FileChange) -> list[Edit]:
        """The edits of one file of the commit."""
        kind = kind_of(change.name)
        if change.binary or kind in ("test", "text"):
            return []
        if kind != "code" or not change.name.endswith(PYTHON) or self.budget <= 0:
            return by_lines(change)
        self.budget -= 1
        text, new = self._after(sha, change)
        before = undo(text, change.hunks)
        old = self._read(before, change.old_path or change.name)
        if change.old_path:
            self.texts[change.old_path] = (before, old)
        return by_regions(change, old, new)

    def _after(self, sha: str, change: FileChange) -> tuple[str, Source]:
        if change.path is None:
            return "", read("", change.name)
        known = self.texts.pop(change.path, None)
        if known is None:
            text = (self.repository.show(sha, change.path) or b"").decode("utf-8", "replace")
            known = (text, self._read(text, change.path))
        return known

    def _read(self, text: str, path: str) -> Source:
        key = (path, text)
        if key not in self.parsed:
            self.parsed[key] = read(text, path)
        return self.parsed[key]


def _renames(commits: Iterable[Commit], changes: dict[str, list[FileChange]]) -> dict[str, str]:
    # newest first: the first answer for an old name is the one that lasted until bad
    found: dict[str, str] = {}
    for commit in commits:
        for change in changes.get(commit.sha, []):
            if change.path and change.old_path and change.path != change.old_path:
                found.setdefault(change.old_path, change.path)
    return found


def by_regions(change: FileChange, old: Source, new: Source) -> list[Edit]:
    """Edits of one Python file, by region; by lines where one side does not parse."""
    if not (new.python and old.python):
        return by_lines(change)
    added = _touched(new, [(h.new_start, h.new_len) for h in change.hunks])
    removed = _touched(old, [(h.old_start, h.old_len) for h in change.hunks])
    return _paired(change.name, added, removed)


def undo(text: str, hunks: list[Hunk]) -> str:
    """The text before a change, from the text after it and the change's hunks."""
    if not text and all(not h.new_len for h in hunks):
        return "\n".join(line for hunk in hunks for line in hunk.removed)
    lines = text.split("\n")
    for hunk in reversed(hunks):
        start = hunk.new_start - 1 if hunk.new_len else hunk.new_start
        lines[start : start + hunk.new_len] = hunk.removed
    return "\n".join(lines)


def _touched(source: Source, spans: list[tuple[int, int]]) -> dict[str, list[Statement]]:
    found: dict[str, list[Statement]] = {}
    wanted = [(start, start + length - 1) for start, length in spans if length]
    for region in source.regions:
        if any(first <= region.end and last >= region.line for first, last in wanted):
            hits = [s for s in region.statements if any(a <= s.end and b >= s.line for a, b in wanted)]
            if hits:
                found[region.name] = hits
    return found


def _paired(path: str, added: dict[str, list[Statement]], removed: dict[str, list[Statement]]) -> list[Edit]:
    edits = []
    for name in {**removed, **added}:
        new, old = added.get(name, []), removed.get(name, [])
        same = Counter(s.text for s in new) & Counter(s.text for s in old)
        left_new, left_old = _minus(new, same), _minus(old, same)
        if left_new or left_old:
            edits.append(Edit(path, name, tuple(left_new), tuple(left_old)))
    return edits


def _minus(statements: list[Statement], same: Counter[str]) -> list[Statement]:
    left = Counter(same)
    kept = []
    for statement in statements:
        if left[statement.text] > 0:
            left[statement.text] -= 1
        else:
            kept.append(statement)
    return kept


def by_lines(change: FileChange) -> list[Edit]:
    """Edits of a file that is one region: the diff's lines are its statements."""
    added = [s for h in change.hunks for s in _raw(h.new_start, h.added)]
    removed = [s for h in change.hunks for s in _raw(h.old_start, h.removed)]
    return _paired(change.name, {MODULE: added}, {MODULE: removed})


def _raw(start: int, lines: list[str]) -> list[Statement]:
    return [Statement(n, n, None, line.strip()) for n, line in enumerate(lines, start) if line.strip()]


def _without_moves(edits: list[Edit]) -> list[Edit]:
    came = Counter(s.text for e in edits for s in e.added)
    went = Counter(s.text for e in edits for s in e.removed)
    both = frozenset(came & went)
    return [Edit(e.path, e.region, e.added, e.removed, both & {s.text for s in (*e.added, *e.removed)}) for e in edits]


def region_of(source: Source, edit: Edit) -> Region | None:
    """The region of an edit in a later source: by name, else where most of its statements stand now."""
    if edit.region in source.by_name:
        return source.by_name[edit.region]
    texts = {s.text for s in edit.added} or {s.text for s in edit.removed}
    overlap = [(len(texts & {s.text for s in r.statements}), -r.line, r) for r in source.regions]
    best = max(overlap, key=lambda item: item[:2], default=None)
    return best[2] if best and best[0] * 2 > len(texts) else None
