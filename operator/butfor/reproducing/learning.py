"""What one attempt at a reproduction shows at bad and at good, run by run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from butfor.errors import InconclusiveError
from butfor.evidence import names
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
    asked: dict[str, int] = field(default_factory=dict)
    """How often each call of a stubbed downstream was made: `NAME METHOD target bodyhash`."""


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

    def otherwise(self) -> str:
        """Return a call of a stubbed downstream that good makes and bad does not, or less often; else nothing.

        What the downstream would answer to it was not captured. Bodies count only where bad sends the same ones
        in each run, and numbers of calls only where requests are sent in order.
        """
        bad, good = ([shown.asked for shown in runs] for runs in (self.bad, self.good))
        if not good or not bad:
            return ""
        form = next((one for one in _FORMS if _alike(bad, one)), _normal)
        most, mine = _most(bad, form), _most(good, form)
        counted = self.runner.parts.way != "load"
        return next((call for call, n in mine.items() if n > most.get(call, 0) and (counted or call not in most)), "")

    def fails_at_good(self) -> bool:
        """Tell whether good answers a failing request with an error of any kind."""
        answers = [answer for shown in self.good for answer in shown.outcome.answers if answer.role == "failing"]
        return any(one.as_failure or not isinstance(one.status, int) or one.status >= 500 for one in answers)

    def always_fails_at_good(self) -> bool:
        """Tell whether every failing request failed as captured in each run of good."""
        answers = [answer for shown in self.good for answer in shown.outcome.answers if answer.role == "failing"]
        return bool(answers) and all(one.as_failure for one in answers)

    def _why(self, name: str, known: set[str]) -> str:
        if name not in known:
            good, bad = (
                dict.fromkeys(shown.said[name].status for shown in runs if name in shown.said)
                for runs in (self.good, self.bad)
            )
            if len(good) == 1 and bad and good != bad:
                return f"good answers it with {next(iter(good))}, bad with {', '.join(map(str, bad))}"
            return "good does not answer it alike each time"
        return "it did not fail as captured at bad, or at good too"


def _as_sent(call: str) -> str:
    return call


def _without_body(call: str) -> str:
    return " ".join(call.split(" ")[:3])


def _normal(call: str) -> str:
    service, method, target = call.split(" ")[:3]
    return f"{service} {method} {names.target(target)}"


_FORMS = (_as_sent, _without_body, _normal)


def _alike(runs: list[dict[str, int]], form: Callable[[str], str]) -> bool:
    """Tell whether what the first run called, the others called too: nothing in it is made up anew each time."""
    first, *others = ({form(call) for call in run} for run in runs)
    return all(first <= other for other in others)


def _most(runs: list[dict[str, int]], form: Callable[[str], str]) -> dict[str, int]:
    """Return the most that each call was made in any run."""
    result: dict[str, int] = {}
    for run in runs:
        counted: Counter[str] = Counter()
        for call, n in run.items():
            counted[form(call)] += n
        result = {call: max(result.get(call, 0), counted[call]) for call in {**result, **counted}}
    return result


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
            outcome, expectations.said(observation), _seconds(observation), _visible(runner, observation, plan),
            {f"{name} {call}": n for name, calls in observation.stub_calls.items() for call, n in calls.items()},
        )  # fmt: skip


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
