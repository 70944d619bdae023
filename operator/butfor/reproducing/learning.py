"""What one attempt at a reproduction shows at bad and at good, run by run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from butfor.errors import InconclusiveError
from butfor.evidence.plays import Observation, Plan
from butfor.evidence.reproductions import Expectation
from butfor.evidence.runs import RunOutcome, Tree
from butfor.reproducing import expectations
from butfor.reproducing.expectations import Said
from butfor.reproducing.judgements import roots_of
from butfor.reproducing.plain import judging, tracebacks
from butfor.reproducing.runners import LocalRunner


@dataclass(frozen=True)
class Shown:
    """One run: how it was judged, and what was answered."""

    outcome: RunOutcome
    said: dict[str, Said]
    seconds: dict[str, list[float]]
    """Per failing request id, how long each answer took."""
    visible: bool = False
    """Whether the service's own log shows the exception (so that it can be seen without injection)."""


@dataclass
class Lesson:
    """Runs of one set of plan parts at good and bad, and what can be expected of good after them."""

    runner: LocalRunner
    good: list[Shown] = field(default_factory=list)
    bad: list[Shown] = field(default_factory=list)

    def show(self, tree: Tree, kept: list[Shown], *, healthy: bool = True) -> Shown:
        """Run the tree once more and remember what it showed."""
        shown = show(self.runner, tree, healthy=healthy)
        kept.append(shown)
        return shown

    def learn(self) -> list[Expectation]:
        """Return what good answers, learned from all that was run; [] before good was run twice."""
        good = [one.said for one in self.good if one.outcome.started]
        bad = max((one.said for one in self.bad), key=len, default=None)
        return expectations.learn(good, bad) if len(good) >= 2 else []

    def apply(self) -> list[str]:
        """Keep the requests that can be judged, with their expectations; returns notes on those that cannot."""
        expected = self.learn()
        known = {one.id for one in expected}
        failing = self.failing_ids() & known
        kept, notes = [], []
        for one in self.runner.parts.requests:
            if one.role == "before" or (one.id in known and (one.role == "healthy" or one.id in failing)):
                kept.append(one)
            else:
                notes.append(
                    f"{one.role} request {one.method} {one.target[:80]} is left out: {self._why(one.id, known)}"
                )
        parts = self.runner.parts.model_copy(update={"requests": kept})
        self.runner = self.runner.variant(
            parts=parts, expected=[one for one in expected if one.id in {r.id for r in kept}]
        )
        return notes

    def failing_ids(self) -> set[str]:
        """Return the requests that failed as captured at bad, and never at good."""
        bad, good = (
            {answer.id for shown in runs for answer in shown.outcome.answers if answer.as_failure}
            for runs in (self.bad, self.good)
        )
        return bad - good

    def _why(self, name: str, known: set[str]) -> str:
        if name not in known:
            return "good does not answer it alike each time, or good and bad answer it with different statuses"
        return "it did not fail as captured at bad, or at good too"


def show(runner: LocalRunner, tree: Tree, *, healthy: bool = True) -> Shown:
    """Run a tree once; a setup that fails is shown as a run that did not start."""
    with runner.folder() as name:
        folder = Path(name)
        try:
            plan, observation = runner.observe(tree, folder, healthy=healthy)
        except InconclusiveError as error:
            return Shown(RunOutcome(judgement="unknown", reason=f"does not start: {error}", started=False), {}, {})
        outcome = runner.judged(observation, plan)
        return Shown(
            outcome, expectations.said(observation), _seconds(observation), _visible(runner, observation, plan)
        )


def _seconds(observation: Observation) -> dict[str, list[float]]:
    result: dict[str, list[float]] = {}
    for answer in observation.answers:
        if answer.role == "failing" and not answer.skipped:
            result.setdefault(answer.id, []).append(answer.seconds)
    return result


def _visible(runner: LocalRunner, observation: Observation, plan: Plan) -> bool:
    predicate = runner.predicate.model_dump(mode="json")
    if not predicate["exception_types"]:
        return False
    log = observation.logs.get(runner.predicate.service)
    text = judging.read_tail(log, tracebacks.LOG_LIMIT) if log else ""
    roots = roots_of(observation, plan)
    return any(not tracebacks.matches(predicate, seen, {}) for seen in tracebacks.from_log(text, roots))
