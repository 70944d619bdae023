"""The three claims: transition, necessary, sufficient (design.md, *Claims*). Every one rests on trees that were run.

A tree that does not start, or fails otherwise, is *cannot tell*: it never counts as "vanished".

A claim may rest on a part of the culprit, or on the culprit together with what others changed; its method then says
so ("in part", "with"), and it holds only if the part or the company explains nothing by itself:

- *in part*: taking out some of the culprit's changes heals bad, and taking the same out of the culprit itself, where
  all else of it stays, heals that too (put in: the part alone makes good fail, and the culprit's parent too);
- *with others' changes*: the tree is good, and the same tree with the culprit's change left in is bad (put in: the
  others' changes alone stay good). The two trees differ in the culprit only.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from butfor.evidence.predicates import Judgement
from butfor.evidence.runs import Runner, Tree
from butfor.evidence.suspects import FunctionRef
from butfor.evidence.verdicts import Claim, Counterfactual
from butfor.patching.companions import Chain
from butfor.patching.searches import Search
from butfor.patching.transfers import Change
from butfor.patching.trying import Healing, Tries
from butfor.ports.repositories import Repository

SHARE = 2
"""Each claim may use at most 1/SHARE of the budget, so that none starves another."""
MOST_NAMED = 3
DETAILS = 40


@dataclass(frozen=True)
class Proof:
    """The claims, the trees of bad that heal (most faithful first), and the runs used."""

    counterfactual: Counterfactual
    healing: list[Healing] = field(default_factory=list)
    runs: int = 0


def counterfactual(
    repository: Repository,
    runner: Runner,
    culprit: str,
    good: str,
    bad: str,
    *,
    transition: Claim | None = None,
    hints: Sequence[FunctionRef] = (),
    repeats: int = 2,
    budget: int = 80,
    seconds: float = 240.0,
    deadline: float | None = None,
    watch: Callable[[str], None] = lambda _: None,
) -> Proof:
    """Run what the three claims need. `transition`: the bisection's claim, kept when it held.

    `hints`: functions that are likely to matter, tried first. `repeats`: runs behind each verdict that counts.
    `budget`: runs at most over all claims. `seconds`: for each claim; what was found by then and seen to hold is kept.
    """
    case = _Case(repository, runner, repository.resolve(culprit), repository.resolve(good), repository.resolve(bad))
    case.hints, case.repeats, case.deadline, case.watch = list(hints), max(1, repeats), deadline, watch
    case.seconds = seconds
    first = transition if transition is not None and transition.held else case.transition(budget)
    necessary, healing = case.necessary(budget // SHARE)
    sufficient = case.sufficient(budget // SHARE)
    claims = Counterfactual(transition=first, necessary=necessary, sufficient=sufficient)
    return Proof(claims, healing, case.runs)


@dataclass
class _Case:
    """One culprit under proof."""

    repository: Repository
    runner: Runner
    culprit: str
    good: str
    bad: str
    hints: list[FunctionRef] = field(default_factory=list)
    repeats: int = 1
    seconds: float = 240.0
    deadline: float | None = None
    watch: Callable[[str], None] = lambda _: None
    runs: int = 0

    def _tries(self, budget: int) -> Tries:
        end = time.monotonic() + self.seconds
        return Tries(self.runner, budget, end if self.deadline is None else min(end, self.deadline), self.repeats)

    def transition(self, budget: int) -> Claim:
        """Run the culprit and each parent."""
        tries = self._tries(budget)
        wanted: list[tuple[str, Judgement]] = [(self.culprit, "bad")]
        wanted += [(parent, "good") for parent in self.repository.parents(self.culprit)]
        seen = [(sha, judgement, self._seen(tries, sha, judgement)) for sha, judgement in wanted]
        self.runs += tries.runs
        details = [f"{sha} is {got}" for sha, _, got in seen]
        method = "the culprit and each of its parents were run"
        wrong = [f"{sha[:12]} is {got} where {want} is expected" for sha, want, got in seen if got != want]
        if len(seen) == 1:
            return Claim(method=method, runs=tries.runs, reason="the culprit has no parent", details=details)
        told = all(got != "unknown" for _, _, got in seen)
        held = True if not wrong else False if told else None
        return Claim(method=method, held=held, runs=tries.runs, reason="; ".join(wrong), details=details)

    @staticmethod
    def _seen(tries: Tries, sha: str, wanted: Judgement) -> Judgement:
        return tries.confirmed(Tree(revision=sha, label="transition"), wanted, healthy=False).judgement

    def necessary(self, budget: int) -> tuple[Claim, list[Healing]]:
        """Take the culprit out of bad; for a merge, what it brought to each parent in turn."""
        tries = self._tries(budget)
        healing: list[Healing] = []
        searches: list[Search] = []
        for parent in self.repository.parents(self.culprit):
            change = Change(self.repository, self.culprit, parent, f"{self.culprit[:12]} back to {parent[:12]}")
            searches.append(self._search(change, tries, forward=True))
            found = searches[-1].find()
            healing = [*([found] if found else []), *healing, *searches[-1].healing]
            if found:
                self.runs += tries.runs
                return self._claim(found.method, True, tries), _distinct(healing)
        self.runs += tries.runs
        refuting = next((search for search in searches if search.refuted), None)
        if refuting is not None and not tries.exhausted:
            reason = f"{refuting.refuted}: taken out completely, the failure stays, so another change brings it too"
            since = refuting.chain.changing(refuting.change.units)[:MOST_NAMED]
            reason += f"; {', '.join(sha[:12] for sha in since)} changed the same functions since" if since else ""
            return self._claim("", False, tries, reason), _distinct(healing)
        return self._claim("", None, tries, _why_not(tries, searches)), _distinct(healing)

    def sufficient(self, budget: int) -> Claim:
        """Put the culprit into good; for a merge, what it brought to each parent in turn."""
        tries = self._tries(budget)
        searches: list[Search] = []
        for parent in self.repository.parents(self.culprit):
            change = Change(self.repository, parent, self.culprit, f"{parent[:12]} on to {self.culprit[:12]}")
            searches.append(self._search(change, tries, forward=False))
            found = searches[-1].find()
            if found:
                self.runs += tries.runs
                return self._claim(found.method, True, tries)
        self.runs += tries.runs
        return self._claim("", None, tries, _why_not(tries, searches))

    def _search(self, change: Change, tries: Tries, *, forward: bool) -> Search:
        chain = Chain(self.repository, self.culprit, self.good, self.bad, forward)
        return Search(change, chain, tries, self.hints, self.watch)

    @staticmethod
    def _claim(method: str, held: bool | None, tries: Tries, reason: str = "") -> Claim:
        return Claim(method=method, held=held, runs=tries.runs, reason=reason, details=tries.log[-DETAILS:])


def _distinct(healing: list[Healing]) -> list[Healing]:
    kept: list[Healing] = []
    for one in healing:
        if all(one.tree.overlay != other.tree.overlay for other in kept):
            kept.append(one)
    return kept


def _why_not(tries: Tries, searches: list[Search]) -> str:
    doubts = [doubt for search in searches for doubt in search.doubts]
    if doubts:
        return f"what was seen has another explanation: {doubts[0]}"
    if tries.exhausted:
        return "the budget of runs or time is used up before a tree could tell"
    return f"no tree could tell; last: {tries.log[-1]}" if tries.log else "the culprit has no parent to compare with"
