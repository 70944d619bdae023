"""The search itself: what to run next, when to stop, and what may then be said.

    bisect(repository, runner, ranking, good, bad, repeats=1, budget=200) -> BisectionResult

The end points are taken as known (the reproduction ran them); everything between is run, nothing is inferred
when it comes to the result: the culprit was seen bad and each of its parents was seen good.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from butfor.bisecting import replays
from butfor.bisecting.lineages import Lineage, members
from butfor.bisecting.posteriors import Posterior, Vector, prior, trouble
from butfor.bisecting.trials import Trials
from butfor.evidence.predicates import Judgement
from butfor.evidence.runs import Runner
from butfor.evidence.suspects import Ranking
from butfor.evidence.verdicts import Bisection, Claim
from butfor.ports.repositories import Repository

SURE = 0.9
"""Posterior from which a commit and its parents are run at once, before anything else."""
METHOD = "the culprit and each of its parents were run"


@dataclass(frozen=True)
class BisectionResult:
    """`verdicts`: every revision that was run, by sha. `posterior`: what is believed of each candidate.

    `candidates`: the commits that the verdicts leave over; one, when there is a culprit.
    """

    bisection: Bisection
    culprit: str | None
    verdicts: dict[str, Judgement]
    transition: Claim = field(default_factory=Claim)
    posterior: dict[str, float] = field(default_factory=dict)
    candidates: list[str] = field(default_factory=list)
    otherwise: list[str] = field(default_factory=list)
    """Revisions that could not be judged though they answered."""


def bisect(
    repository: Repository,
    runner: Runner,
    ranking: Ranking,
    good: str,
    bad: str,
    *,
    repeats: int = 1,
    budget: int = 200,
    failure_rate: float = 1.0,
    deadline: float | None = None,
    watch: Callable[[str], None] = lambda _: None,
    known: Mapping[str, Judgement] | None = None,
    patience: int | None = None,
) -> BisectionResult:
    """Find the commit of `good..bad` that brought the failure in.

    `known`: verdicts (good or bad) of revisions that were run before, which are not run again. `patience`: how many
    revisions may answer otherwise than good and than the failure before the search stops, since the caller may say
    what their answers are; None: no limit.
    `repeats`: good runs that a revision needs before it counts as good (one bad run is enough for bad).
    `failure_rate`: share of runs of `bad` that failed. `budget`: runs at most. `deadline`: `time.monotonic()`.
    """
    search = _Search(
        repository,
        runner,
        ranking,
        (good, bad),
        limits=_Limits(max(1, repeats), budget, failure_rate, deadline, patience),
        watch=watch,
        known=known or {},
    )
    return search.result(search.conclude())


@dataclass(frozen=True)
class _Limits:
    """How much may be run; `bisect` says what each is."""

    repeats: int
    budget: int
    failure_rate: float
    deadline: float | None
    patience: int | None = None

    def reached(self, runs: int, otherwise: int) -> str:
        """Which limit is reached, in words; empty while none is."""
        if self.patience is not None and otherwise >= self.patience:
            return "the revisions between them answer neither as good does nor as the failure was captured"
        if runs >= self.budget:
            return f"the budget of {self.budget} runs is used up"
        late = self.deadline is not None and time.monotonic() >= self.deadline
        return "the time allowed is used up" if late else ""


class _Search:
    """One bisection under way."""

    def __init__(
        self,
        repository: Repository,
        runner: Runner,
        ranking: Ranking,
        ends: tuple[str, str],
        *,
        limits: _Limits,
        watch: Callable[[str], None],
        known: Mapping[str, Judgement],
    ) -> None:
        self.repository = repository
        self.good, self.bad = (repository.resolve(end) for end in ends)
        self.lineage = Lineage.of(repository.commits(self.good, self.bad))
        self.trials = Trials(runner, limits.repeats, known={**known, self.good: "good", self.bad: "bad"})
        self.limits, self.watch = limits, watch
        weights = {s.commit: s.probability for s in ranking.suspects}
        start = prior(self.lineage, weights) if len(self.lineage) else None
        self.posterior = None if start is None else Posterior(self.lineage, start, limits.failure_rate)
        if self.posterior is not None:
            self.posterior.observe(self.lineage.index[self.bad], bad=True)
            for sha in known.keys() & self.lineage.index.keys() - {self.bad}:
                self.posterior.observe(self.lineage.index[sha], bad=known[sha] == "bad")

    def conclude(self) -> str:
        """Run until there is a culprit or nothing more can be learned; the reason in words."""
        if not len(self.lineage):
            return "there is no commit between good and bad; check the two revisions"
        fork = self._fork()
        if fork:
            return fork
        while self.transition() is None:
            limit = self.limits.reached(self.trials.runs, len(self.trials.otherwise))
            if limit:
                return self._left(limit)
            following = self._following()
            if following is None:
                return self._left("the revisions between them cannot be judged")
            self._test(following)
        return "" if self._settle_outside() else "a parent of the culprit could not be shown to be good"

    def _fork(self) -> str:
        """Where good is no ancestor of bad the verdicts must start from where the two parted."""
        base = self.repository.merge_base(self.good, self.bad)
        if base is None:
            return "good and bad share no history; give a good revision that bad descends from"
        if base == self.good:
            return ""
        self._test(base)
        if self.trials.settled(base) == "bad":
            return (
                f"the merge base {base[:12]} is bad too: the failure is older than both, and good holds a fix that"
                " bad lacks; give an ancestor of bad that is good"
            )
        return ""

    def transition(self) -> str | None:
        """The commit that was seen bad while every parent in the range, or good itself, was seen good."""
        found = [i for i in map(self.lineage.index.get, self.trials.of("bad")) if i is not None]
        for i in sorted(found, reverse=True):
            if all(self._good(p) for p in self.lineage.parents[i]):
                return self.lineage.shas[i]
        return None

    def _good(self, parent: str) -> bool:
        """Seen good; or an ancestor of good, which is run last, and until then taken to be good."""
        verdict = self.trials.settled(parent)
        return verdict == "good" or (verdict != "bad" and parent not in self.lineage.index)

    def _settle_outside(self) -> bool:
        """Run the culprit's parents that are ancestors of good: inferred so far, and a claim needs a run."""
        culprit = self.transition()
        parents = self.repository.parents(culprit) if culprit else []
        for parent in parents:
            while self.trials.open(parent):
                self._test(parent)
        return all(self.trials.settled(parent) == "good" for parent in parents)

    def _following(self) -> str | None:
        """The revision to run next: a near-certain culprit and its parents, else the most telling one."""
        assert self.posterior is not None
        best = int(self.posterior.values.argmax())
        if self.posterior.values[best] >= SURE:
            wanted = [self.lineage.shas[best], *self.lineage.parents[best]]
            pending = [sha for sha in wanted if sha in self.lineage.index and self.trials.open(sha)]
            if pending:
                return pending[0]
        return self._most_telling(self.posterior)

    def _most_telling(self, posterior: Posterior) -> str | None:
        open_ = [i for i, sha in enumerate(self.lineage.shas) if self.trials.open(sha)]
        if not open_:
            return None
        revisions, gains = posterior.gains(open_)
        worth = gains * (1.0 - self._trouble()[revisions])
        best = int(worth.argmax())
        if gains[best] > 1e-3 or not self._consistent():
            return self.lineage.shas[int(revisions[best])]
        left = set(members(self._remaining()))
        wanted = [i for i in open_ if i in left]
        return self.lineage.shas[wanted[0]] if len(left) > 1 and wanted else None

    def _trouble(self) -> Vector:
        where = self.lineage.index
        runnable = [where[s] for s in self.trials.of("good", "bad") if s in where]
        return trouble(len(self.lineage), [where[s] for s in self.trials.of("unknown") if s in where], runnable)

    def _remaining(self) -> int:
        where = self.lineage.index
        bad = [where[s] for s in self.trials.of("bad") if s in where]
        return self.lineage.remaining(bad, [where[s] for s in self.trials.of("good") if s in where])

    def _consistent(self) -> bool:
        return self._remaining() != 0

    def _test(self, sha: str) -> None:
        verdict = self.trials.run(sha)
        where = self.lineage.index.get(sha)
        if where is not None and self.posterior is not None and verdict != "unknown":
            self.posterior.observe(where, bad=verdict == "bad")
        self.watch(f"{sha[:12]} is {verdict}; {self._remaining().bit_count()} candidates left")

    def _left(self, why: str) -> str:
        left = [self.lineage.shas[i] for i in members(self._remaining())]
        names = ", ".join(sha[:12] for sha in left[:20]) + (", ..." if len(left) > 20 else "")
        return f"one of these {len(left)} commits: {names}; {why}" if left else f"verdicts contradict: {why}"

    def result(self, reason: str) -> BisectionResult:
        """Everything that was learned, as frozen evidence."""
        culprit = self.transition()
        subjects = dict(zip(self.lineage.shas, self.lineage.subjects, strict=True))
        verdicts = self.trials.verdicts()
        plain = None
        if culprit:
            skipped = self.trials.of("unknown")
            plain = replays.git_bisect_runs(self.lineage, culprit, skipped, self.limits.repeats)
            plain += self._fork_runs()
        bisection = Bisection(
            first_bad=culprit,
            runs=self.trials.runs,
            git_bisect_runs=plain,
            log=replays.log(self.good, self.bad, verdicts, subjects=subjects, culprit=culprit, fits=self._fits),
            reason=reason,
            steps=self.trials.steps,
        )
        return BisectionResult(
            bisection, culprit, dict(verdicts), self._claim(culprit, reason), self._beliefs(),
            self._candidates(culprit), self.trials.otherwise,
        )  # fmt: skip

    def _fits(self, sha: str) -> bool:
        """Whether a verdict goes with the culprit: bad from it on, good elsewhere."""
        culprit, where = self.transition(), self.lineage.index.get(sha)
        if culprit is None or self.trials.settled(sha) == "unknown":
            return True
        below = where is not None and bool(self.lineage.ancestors[where] >> self.lineage.index[culprit] & 1)
        return below == (self.trials.settled(sha) == "bad")

    def _fork_runs(self) -> int:
        return 0 if self.repository.merge_base(self.good, self.bad) in {self.good, None} else self.limits.repeats

    def _beliefs(self) -> dict[str, float]:
        values: Iterable[float] = [] if self.posterior is None else self.posterior.values.tolist()
        return dict(zip(self.lineage.shas, values, strict=True))

    def _candidates(self, culprit: str | None) -> list[str]:
        return [culprit] if culprit else [self.lineage.shas[i] for i in members(self._remaining())]

    def _claim(self, culprit: str | None, reason: str) -> Claim:
        """*transition*: every parent of the culprit is good, the culprit is bad; null where one cannot be judged."""
        if culprit is None:
            return Claim(reason=reason or "no culprit was found")
        parents = self.repository.parents(culprit)
        seen = {parent: self.trials.settled(parent) for parent in parents}
        runs = sum(self.trials.count(sha) for sha in [culprit, *parents])
        details = [f"{culprit} is bad", *(f"parent {sha} is {verdict or 'not run'}" for sha, verdict in seen.items())]
        if not parents:
            return Claim(method=METHOD, runs=runs, reason="the culprit has no parent to compare with", details=details)
        held = True if set(seen.values()) == {"good"} else False if "bad" in seen.values() else None
        return Claim(method=METHOD, held=held, runs=runs, reason="" if held else reason, details=details)
