"""Which commits brought a statement of bad into its function: layout, moves and later touches seen through."""

from __future__ import annotations

import difflib
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from butfor.locating.edits import Edit, region_of
from butfor.locating.histories import History
from butfor.locating.lexicons import fold
from butfor.locating.sources import Statement
from butfor.locating.trees import Key, Tree
from butfor.ports.repositories import Repository

SIMILAR = 0.6
OWN_REGION = 0.1
SHORTEST = 6
REWORDED = 0.25
"""The least credit for having written a statement down, though what it does was there before."""
EARLIER, CARRIED = 0.3, 0.2
MOST_STEPS = 6
LONGEST = 2000
WORDS = re.compile(r"\w+|[^\w\s,()]")


@dataclass(frozen=True)
class Placed:
    """An edit with its commit, its position (0 is the newest commit) and the region at bad that it is part of."""

    commit: str
    order: int
    edit: Edit
    key: Key
    known: bool
    """False where bad has no such region: `key` then is the region's name at the commit."""


def undone(by_region: Mapping[Key, Sequence[Placed]]) -> set[Key]:
    """Regions that are at bad as they were at good, though commits changed them: one undid what another did.

    What several commits added and removed there makes up for each other, statement by statement. A single commit's
    edit of which that is true changed the order, and counts; what came from another region, or left for one, may be
    at work there.
    """
    found: set[Key] = set()
    for key, placed in by_region.items():
        net: Counter[str] = Counter()
        for one in placed:
            net.update(s.text for s in one.edit.added)
            net.subtract(s.text for s in one.edit.removed)
        stayed = all(one.known and not one.edit.moved for one in placed)
        if stayed and len({one.commit for one in placed}) > 1 and not any(net.values()):
            found.add(key)
    return found


class Introductions:
    """Edits by region at bad, and who introduced what."""

    def __init__(self, history: History, tree: Tree, repository: Repository, good: str, bad: str) -> None:
        self._tree, self._repository, self._range = tree, repository, (good, bad)
        self._commits = {commit.sha for commit in history.commits}
        self._new: dict[tuple[str, Key, str], float] = {}
        self._blames: dict[str, dict[int, str]] = {}
        self._formerly: dict[Key, str] = {}
        self.by_commit: dict[str, list[Placed]] = {}
        self.by_region: dict[Key, list[Placed]] = defaultdict(list)
        for order, commit in enumerate(history.commits):
            placed = [self._place(commit.sha, order, e, history) for e in history.edits.get(commit.sha, [])]
            self.by_commit[commit.sha] = placed
            for one in placed:
                self.by_region[one.key].append(one)
                if one.edit.formerly:  # commits come newest first: older ones know the region by this name
                    self._formerly.setdefault((one.key[0], one.edit.formerly), one.key[1])
        self._forget(undone(self.by_region))

    def _forget(self, keys: set[Key]) -> None:
        for key in keys:
            del self.by_region[key]
        self.by_commit = {sha: [one for one in some if one.key not in keys] for sha, some in self.by_commit.items()}

    def _place(self, commit: str, order: int, edit: Edit, history: History) -> Placed:
        path = history.at_bad(edit.path)
        edit = replace(edit, region=self._formerly.get((path, edit.region), edit.region))
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
            added = next((s for s in placed.edit.added if s.text == text), None)
            if steps <= 0 or placed.order < after or added is None:
                continue
            origin, change = self._origin(placed, added)
            share = left * max(REWORDED, math.sqrt(change))
            credit[placed.commit] = max(credit.get(placed.commit, 0.0), share)
            if origin:
                whence, before = origin
                self._follow(whence, before.text, left * (1 - change), placed.order + 1, credit, steps - 1)
            left *= EARLIER

    def _origin(self, placed: Placed, added: Statement) -> tuple[tuple[Key, Statement] | None, float]:
        """The statement that an added one came from, and the share of it (0..1) that is new."""
        if added.text in placed.edit.moved:
            like = added.said.likeness
            for other in self.by_commit[placed.commit]:
                for removed in other.edit.removed:
                    if removed.said.likeness == like and other.key != placed.key:
                        return (other.key, removed), 0.0
        before = self._closest(placed, added.text)
        near = (before, _change(before[1], added, self._renames(placed.commit))) if before else (None, 1.0)
        return near if near[1] <= CARRIED else self._carried(placed, added) or near

    def _closest(self, placed: Placed, text: str) -> tuple[Key, Statement] | None:
        """The removed statement of the same file that an added one most likely replaced; its own region's first."""
        best, ratio = None, SIMILAR
        for other in self.by_commit[placed.commit] if len(text) < LONGEST else ():
            own = OWN_REGION if other.key == placed.key else 0.0
            for removed in other.edit.removed if other.edit.path == placed.edit.path else ():
                matcher = difflib.SequenceMatcher(None, removed.text, text, autojunk=False)
                if matcher.real_quick_ratio() + own > ratio and matcher.quick_ratio() + own > ratio:
                    found = matcher.ratio()
                    if found > SIMILAR and found + own > ratio:
                        best, ratio = (other.key, removed), found + own
        return best

    def _renames(self, commit: str) -> list[tuple[str, str]]:
        """Functions that a commit renamed: last names before and after, folded."""
        pairs = [(e.edit.formerly, e.edit.region) for e in self.by_commit[commit] if e.edit.formerly]
        return [(fold(a.rsplit(".", 1)[-1]), fold(b.rsplit(".", 1)[-1])) for a, b in pairs]

    def _carried(self, placed: Placed, added: Statement) -> tuple[tuple[Key, Statement], float] | None:
        """A removed statement of the same file that did all of it: the effect was there before."""
        effects = added.said.effects
        for other in self.by_commit[placed.commit] if effects else []:
            for removed in other.edit.removed:
                if other.edit.path == placed.edit.path and effects <= removed.said.effects:
                    return (other.key, removed), CARRIED
        return None

    def newness(self, placed: Placed, added: Statement) -> float:
        """The share of an added statement that its commit did not take from somewhere else."""
        key = (placed.commit, placed.key, added.text)
        if key not in self._new:
            self._new[key] = max(REWORDED, self._origin(placed, added)[1])
        return self._new[key]

    def _blamed(self, path: str, line: int) -> dict[str, float]:
        good, bad = self._range
        if path not in self._blames:
            known = path in self._tree.files
            found = self._repository.blame(bad, path, since=good) if known else []
            self._blames[path] = {one.line: one.sha for one in found}
        sha = self._blames[path].get(line)
        return {sha: 1.0} if sha in self._commits and sha is not None else {}


def _among(effect: str, others: frozenset[str]) -> bool:
    """Whether an effect is one of others, or one of them under another qualifier (`exceptions.Gone()`, `Gone()`)."""
    return effect in others or any(
        min(len(effect), len(other)) >= SHORTEST and (other.endswith(effect) or effect.endswith(other))
        for other in others
    )


def _change(before: Statement, after: Statement, renames: Iterable[tuple[str, str]] = ()) -> float:
    """The share of a statement's effects that are new; without effects, of the words and signs not in common.

    That a function has another name now is no new effect of a statement that calls it.
    """
    effects, known = after.said.effects, before.said.effects
    for was, now in renames:
        known = known | {one.replace(was, now) for one in known}
    if effects:
        return sum(not _among(one, known) for one in effects) / len(effects)
    old, new = (Counter(WORDS.findall(s.text.replace("_", "").lower())) for s in (before, after))
    together = (old | new).total()
    return 1.0 - (old & new).total() / together if together else 0.0
