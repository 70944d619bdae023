"""The three claims: transition, necessary, sufficient (design.md, *Claims*). Every one rests on trees that were run.

A tree that does not start, or fails otherwise, is *cannot tell*: it never counts as "vanished".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from butfor.evidence.predicates import Judgement
from butfor.evidence.runs import Runner, Tree
from butfor.evidence.suspects import FunctionRef
from butfor.evidence.verdicts import Claim, Counterfactual
from butfor.patching import companions
from butfor.patching.attempts import Attempt, parts, plain, styled, without_removals
from butfor.patching.companions import Chain, Company
from butfor.patching.transfers import Change, View
from butfor.patching.trying import Healing, Tries
from butfor.ports.repositories import Repository

SHARE = 2
"""Each claim may use at most 1/SHARE of the budget, so that none starves another."""
TESTS_OF_SETS = 150
"""Sets of earlier commits tried at most when thinning; most of them conflict and cost no run."""


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
    deadline: float | None = None,
    watch: Callable[[str], None] = lambda _: None,
) -> Proof:
    """Run what the three claims need. `transition`: the bisection's claim, kept when it held.

    `hints`: functions that are likely to matter, tried first. `repeats`: runs behind each verdict that counts.
    `budget`: runs at most over all claims.
    """
    case = _Case(repository, runner, repository.resolve(culprit), repository.resolve(good), repository.resolve(bad))
    case.hints, case.repeats, case.deadline, case.watch = list(hints), max(1, repeats), deadline, watch
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
    deadline: float | None = None
    watch: Callable[[str], None] = lambda _: None
    runs: int = 0

    def _tries(self, budget: int) -> Tries:
        return Tries(self.runner, budget, self.deadline, self.repeats)

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
        found: Healing | None = None
        refuted = ""
        for parent in self.repository.parents(self.culprit):
            change = Change(self.repository, self.culprit, parent, f"{self.culprit[:12]} back to {parent[:12]}")
            found, still = self._search(change, self.bad, "good", tries, forward=True)
            refuted = refuted or still
            if found:
                break
        self.runs += tries.runs
        if found:
            return self._claim(found.method, True, tries), [found]
        if refuted and not tries.exhausted:
            reason = f"{refuted}: taken out completely, the failure stays, so another change brings it too"
            return self._claim("", False, tries, reason), []
        return self._claim("", None, tries, _last(tries)), []

    def sufficient(self, budget: int) -> Claim:
        """Put the culprit into good; for a merge, what it brought to each parent in turn."""
        tries = self._tries(budget)
        for parent in self.repository.parents(self.culprit):
            change = Change(self.repository, parent, self.culprit, f"{parent[:12]} on to {self.culprit[:12]}")
            found, _ = self._search(change, self.good, "bad", tries, forward=False)
            if found:
                self.runs += tries.runs
                return self._claim(found.method, True, tries)
        self.runs += tries.runs
        return self._claim("", None, tries, _last(tries))

    @staticmethod
    def _claim(method: str, held: bool | None, tries: Tries, reason: str = "") -> Claim:
        return Claim(method=method, held=held, runs=tries.runs, reason=reason, details=tries.log[-40:])

    def _search(
        self, change: Change, revision: str, wanted: Judgement, tries: Tries, *, forward: bool
    ) -> tuple[Healing | None, str]:
        """The first tree that is judged as wanted; and the method of a complete one that was judged the opposite."""
        opposite: Judgement = "bad" if wanted == "good" else "good"
        refuted = ""
        base = View(self.repository, Tree(revision=revision))
        for attempt in self._whole(change, base, tries.log):
            judgement = self._try(attempt, wanted, tries)
            if judgement == wanted:
                return Healing(attempt.tree, attempt.origin, attempt.method, attempt.complete), ""
            if judgement == opposite and attempt.complete:
                refuted = refuted or attempt.method
        if refuted and forward:
            return None, refuted
        found = self._parts(change, base, wanted, tries)
        return found or self._accompanied(change, base, wanted, tries, forward=forward), refuted

    @staticmethod
    def _whole(change: Change, base: View, log: list[str]) -> Iterator[Attempt]:
        attempt, why = plain(change, base.tree.revision)
        if attempt:
            yield attempt
        else:
            log.append(why)
        attempts = list(styled(change, base))
        kept = without_removals(change)
        if kept:
            attempts += styled(change, base, kept)
        # the whole change first: a part that has no conflict may heal by chance of where conflicts stand
        yield from sorted(attempts, key=lambda attempt: not attempt.complete)

    def _try(self, attempt: Attempt, wanted: Judgement, tries: Tries) -> Judgement:
        outcome = tries.confirmed(attempt.tree, wanted, healthy=wanted == "good")
        words = f"{attempt.method}: {outcome.judgement}"
        reason = "; ".join(part for part in (attempt.reason, outcome.reason) if part)
        tries.log.append(f"{words} ({reason[:300]})" if reason else words)
        self.watch(tries.log[-1])
        return outcome.judgement

    def _parts(self, change: Change, base: View, wanted: Judgement, tries: Tries) -> Healing | None:
        """A part of the change is enough: it is what the failure hangs on."""
        for units in parts(change, self.hints)[:30]:
            for attempt in styled(change, base, units):
                if tries.exhausted:
                    return None
                if self._try(attempt, wanted, tries) == wanted:
                    return Healing(attempt.tree, attempt.origin, attempt.method, complete=False)
        return None

    def _accompanied(
        self, change: Change, base: View, wanted: Judgement, tries: Tries, *, forward: bool
    ) -> Healing | None:
        """With the smallest set of neighbouring commits that it cannot be parted from."""
        chain = Chain(self.repository, self.culprit, self.good, self.bad, forward)
        for start in self._starts(chain, change, base, forward=forward):
            company = companions.close(chain, change, base, start)
            if company is None:
                tries.log.append("with companions: its hunks have no place even so")
                continue

            def make(some: list[str]) -> Company:
                return companions.assemble(chain, change, base, some)

            found = self._fewest(company.commits, make, wanted, tries, forward=forward)
            if found:
                return found
        return None if forward else self._thinned(chain, change, tries)

    @staticmethod
    def _starts(chain: Chain, change: Change, base: View, *, forward: bool) -> Iterator[list[str]]:
        yield []
        if not forward:
            named = companions.introducers(chain, change, base)
            if named:
                yield named[: companions.LIMIT]

    @staticmethod
    def _company_method(commits: list[str], *, forward: bool, whole: int = 0) -> str:
        kind = "later commits that build on it" if forward else "earlier commits that it needs"
        count = f"{len(commits)} of {whole}" if whole else str(len(commits))
        names = ", ".join(sha[:12] for sha in commits[:12]) + (", ..." if commits[12:] else "")
        return f"with {count} {kind}: {names}"

    def _holds(
        self,
        company: Company,
        wanted: Judgement,
        tries: Tries,
        *,
        forward: bool,
        whole: int = 0,
        confirm: bool = False,
    ) -> bool:
        """The set with the culprit is judged as wanted; put into good, the set alone must stay good.

        `confirm`: what was seen once before is enough where nothing more may be run.
        """
        if company.conflicts or (tries.exhausted and not confirm):
            return False
        method = self._company_method(company.commits, forward=forward, whole=whole)
        attempt = Attempt(company.together.tree, method, "hunks", complete=True)
        if self._try(attempt, wanted, tries) != wanted:
            return False
        if forward or not company.commits:
            return True
        alone = tries.confirmed(company.alone.tree, "good")
        tries.log.append(f"{method}, without the culprit: {alone.judgement} {alone.reason[:200]}".rstrip())
        return alone.judgement == "good"

    def _thinned(self, chain: Chain, change: Change, tries: Tries) -> Healing | None:
        """From the other end: the culprit's parent is good plus all earlier commits; leave out what is not needed.

        Where nothing can be left out there is no claim: it would say no more than the transition does.
        """

        def make(some: list[str]) -> Company:
            return companions.without(chain, change, some)

        needed = [sha for sha in chain.commits if chain.change(sha).units]
        whole = len(chain.commits)
        found = self._fewest(needed, make, "bad", tries, forward=False, whole=whole)
        return None if found is None or found.companions == whole else found

    def _fewest(
        self,
        commits: list[str],
        make: Callable[[list[str]], Company],
        wanted: Judgement,
        tries: Tries,
        *,
        forward: bool,
        whole: int = 0,
    ) -> Healing | None:
        """The fewest of these companions that do, each tree run once in the search and the result confirmed."""
        left = [TESTS_OF_SETS]

        def works(some: list[str]) -> bool:
            left[0] -= 1
            return bool(some) and left[0] >= 0 and self._holds(make(some), wanted, tries, forward=forward, whole=whole)

        with tries.singly():
            kept = companions.fewer(commits, works) if works(commits) else []
        if not kept or not self._holds(make(kept), wanted, tries, forward=forward, whole=whole, confirm=True):
            return None
        method = self._company_method(kept, forward=forward, whole=whole)
        return Healing(make(kept).together.tree, "hunks", method, complete=True, companions=len(kept))


def _last(tries: Tries) -> str:
    if tries.exhausted:
        return "the budget of runs or time is used up before a tree could tell"
    return f"no tree could tell; last: {tries.log[-1]}" if tries.log else "the culprit has no parent to compare with"
