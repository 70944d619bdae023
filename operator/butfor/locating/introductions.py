"""Which commits brought a statement of bad into its function: layout, moves and later touches seen through."""

from __future__ import annotations

import difflib
from collections import defaultdict
from dataclasses import dataclass

from butfor.locating.edits import Edit, History, region_of
from butfor.locating.sources import Statement
from butfor.locating.trees import Key, Tree
from butfor.ports.repositories import Repository

SIMILAR = 0.6
MOVED, EARLIER, REPLACED = 0.5, 0.3, 0.5
MOST_STEPS = 6


@dataclass(frozen=True)
class Placed:
    """An edit with its commit, its position (0 is the newest commit) and the region at bad that it is part of."""

    commit: str
    order: int
    edit: Edit
    key: Key
    known: bool
    """False where bad has no such region: `key` then is the region's name at the commit."""


class Introductions:
    """Edits by region at bad, and who introduced what."""

    def __init__(self, history: History, tree: Tree, repository: Repository, good: str, bad: str) -> None:
        self._tree, self._repository, self._range = tree, repository, (good, bad)
        self._commits = {commit.sha for commit in history.commits}
        self._blames: dict[str, dict[int, str]] = {}
        self.by_commit: dict[str, list[Placed]] = {}
        self.by_region: dict[Key, list[Placed]] = defaultdict(list)
        for order, commit in enumerate(history.commits):
            placed = [self._place(commit.sha, order, e, history) for e in history.edits.get(commit.sha, [])]
            self.by_commit[commit.sha] = placed
            for one in placed:
                self.by_region[one.key].append(one)

    def _place(self, commit: str, order: int, edit: Edit, history: History) -> Placed:
        path = history.at_bad(edit.path)
        region = region_of(self._tree.source(path), edit) if path in self._tree.files else None
        return Placed(commit, order, edit, (path, region.name if region else edit.region), region is not None)

    def of(self, key: Key, statement: Statement) -> dict[str, float]:
        """Credit 0..1 per commit for a statement: the last to add it most; moves and rewrites pass credit on."""
        credit: dict[str, float] = {}
        if statement.node is None:
            return self._blamed(key[0], statement.line)
        self._follow(key, statement.text, 1.0, 0, credit, MOST_STEPS)
        return credit

    def _follow(self, key: Key, text: str, weight: float, after: int, credit: dict[str, float], steps: int) -> None:
        left = weight
        for placed in self.by_region.get(key, []):
            if steps <= 0 or placed.order < after or text not in {s.text for s in placed.edit.added}:
                continue
            moved = text in placed.edit.moved
            share = left * (MOVED if moved else 1.0)
            credit[placed.commit] = max(credit.get(placed.commit, 0.0), share)
            self._pass_on(placed, text, left, moved, credit, steps)
            left *= EARLIER

    def _pass_on(
        self, placed: Placed, text: str, weight: float, moved: bool, credit: dict[str, float], steps: int
    ) -> None:
        after = placed.order + 1
        if moved:
            for other in self.by_commit[placed.commit]:
                if text in {s.text for s in other.edit.removed}:
                    self._follow(other.key, text, weight, after, credit, steps - 1)
            return
        before = _closest(text, placed.edit)
        if before is not None:
            self._follow(placed.key, before, weight * REPLACED, after, credit, steps - 1)

    def _blamed(self, path: str, line: int) -> dict[str, float]:
        good, bad = self._range
        if path not in self._blames:
            known = path in self._tree.files
            found = self._repository.blame(bad, path, since=good) if known else []
            self._blames[path] = {one.line: one.sha for one in found}
        sha = self._blames[path].get(line)
        return {sha: 1.0} if sha in self._commits and sha is not None else {}


def _closest(text: str, edit: Edit) -> str | None:
    """The removed statement that an added one most likely replaced."""
    best, ratio = None, SIMILAR
    for statement in edit.removed:
        matcher = difflib.SequenceMatcher(None, statement.text, text, autojunk=False)
        if len(text) < 2000 and matcher.real_quick_ratio() > ratio and (found := matcher.ratio()) > ratio:
            best, ratio = statement.text, found
    return best
