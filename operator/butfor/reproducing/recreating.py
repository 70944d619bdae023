"""From a capture to a reproduction that fails on bad every time and on good never, or the reason why not."""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from butfor.evidence.plays import PlannedRequest
from butfor.evidence.predicates import FailurePredicate
from butfor.evidence.reproductions import PlanParts, Reproduction, Slowness
from butfor.evidence.runs import Tree
from butfor.evidence.services import ServiceDescription
from butfor.evidence.telemetry import Telemetry
from butfor.evidence.timelines import Timelines
from butfor.reproducing import expectations, keeping, slownesses
from butfor.reproducing.assembling import GOOD, Workshop
from butfor.reproducing.attempts import attempts
from butfor.reproducing.learning import Lesson, Shown, show
from butfor.reproducing.runners import Keeper, LocalRunner
from butfor.reproducing.selections import HEALTHY_LIMIT, PER_SHAPE, select
from butfor.reproducing.shrinks import shrink

MISSED = 0.001
"""A failure that shows now and then is repeated until a run of bad misses it with at most this probability."""
LARGEST_REPEAT = 200
SLOW_REPEAT = 3
CHANCE = 0.01
"""How likely it may be that runs of good and bad differ as they do where both fail equally often."""
GOOD_TOO = "good fails too"


@dataclass(frozen=True)
class Budget:
    """How much may be run.

    `confirm`: final runs of good and of bad each (`confirm_both`: where both fail); `shrink`: runs to shorten it.
    """

    confirm: int = 10
    confirm_both: int = 3
    shrink: int = 24
    seconds: float = 1800.0


@dataclass(frozen=True)
class Reproduced:
    """The reproduction and who runs it. `runner` is None where nothing could be started."""

    reproduction: Reproduction
    runner: LocalRunner | None


def reproduce(
    timelines: Timelines,
    telemetry: Telemetry,
    services: Sequence[ServiceDescription],
    workshop: Workshop,
    good: str,
    bad: str,
    budget: Budget | None = None,
    *,
    renames: Mapping[str, str] | None = None,
    keeper: Keeper = keeping.keep,
    case: Path | None = None,
) -> Reproduced:
    """Find the shortest sequence of captured requests that fails at bad and not at good.

    `good` and `bad` are revisions of the suspected services' repository; services of another repository run at
    their own revision, or become stubs. `renames` maps file names at good to those at bad. Never raises for
    what the services do; UserError for a revision that is not there.
    """
    if timelines.predicate is None:
        return _nothing("; ".join(timelines.reasons) or "no failure was found in the capture")
    suspects = suspected(services, workshop, timelines.predicate.service)
    if not suspects:
        return _nothing("no service description names a good and a bad revision")
    downstream = frozenset(s.name for s in services if s.name not in suspects and s.name != timelines.predicate.service)
    played = frozenset(s.name for s in services)
    selection = select(timelines, telemetry, timelines.predicate.service, played)
    if not selection.failing:
        return _nothing("; ".join(["no failing request can be sent again", *selection.notes[:3]]))
    task = _Task(
        timelines.predicate, services, workshop, suspects, Tree(revision=good, label=GOOD),
        Tree(revision=bad, label="bad"), budget or Budget(), dict(renames or {}), keeper, list(selection.notes),
    )  # fmt: skip
    bodies = workshop.scratch / "bodies"
    return task.work(attempts(selection, telemetry, timelines.predicate.service, downstream, bodies, case), timelines)


def suspected(services: Sequence[ServiceDescription], workshop: Workshop, failing: str) -> frozenset[str]:
    """Return the services that run the tree under test: those of one repository that have good and bad.

    The repository is the failing service's, if that has good and bad, else the first one's that has.
    """
    own = [s for s in services if s.good and s.bad]
    first = next((s for s in own if s.name == failing), own[0] if own else None)
    if first is None:
        return frozenset()
    return frozenset(s.name for s in own if workshop.histories.get(s.name) == workshop.histories.get(first.name))


@dataclass
class _Task:
    """One reproduction in the making."""

    predicate: FailurePredicate
    services: Sequence[ServiceDescription]
    workshop: Workshop
    suspects: frozenset[str]
    good: Tree
    bad: Tree
    budget: Budget
    renames: dict[str, str]
    keeper: Keeper
    notes: list[str]
    begin: float = field(default_factory=time.monotonic)
    slowness: Slowness | None = None
    both: Lesson | None = None
    always_both: bool = False
    """Whether a real way, without stubs, failed at good each time as it does at bad."""

    def work(self, ways: Iterator[PlanParts], timelines: Timelines) -> Reproduced:
        """Try the ways in turn; confirm the first that fails at bad and not at good."""
        why = "bad does not fail"
        runner: LocalRunner | None = None
        for parts in ways:
            if parts.way == "load" and self.always_both:
                break  # what fails each time without load at good does not need it
            if self._late():
                self.notes.append(f"not every way was tried within {self.budget.seconds:.0f} s")
                break
            lesson = Lesson(self._runner(parts, runner))
            runner = runner or lesson.runner
            found = self._try(lesson)
            if not found:
                done = self._confirmed(lesson)
                if done.reproduction.reproduced:
                    return done
                found = f"{GOOD_TOO if done.reproduction.good_failures else 'seldom'}: {done.reproduction.reason}"
                self.slowness = None
            if found.startswith(GOOD_TOO):
                self.both = self.both or lesson
                self.always_both = self.always_both or (not parts.stubbed and lesson.always_fails_at_good())
            self.notes.append(f"{parts.way}{' with stubs' if parts.stubbed else ''}: {found}")
            why = found if _rank(found) > _rank(why) else why
            if found.startswith("does not start") and not parts.stubbed:
                break
        if self.both is not None:
            return self._failing_at_both(self.both, why, timelines)
        return Reproduced(self._report(None, reason=why), runner)

    def _failing_at_both(self, lesson: Lesson, why: str, timelines: Timelines) -> Reproduced:
        """Count a failure that good has too; what health looks like comes from the capture."""
        parts = lesson.runner.parts
        asked = expectations.from_capture(parts.requests, timelines, timelines.telemetry)
        healthy = [one for one in lesson.learn() if one.role == "healthy"]
        known = {one.id for one in [*asked, *healthy]}
        kept = [one for one in parts.requests if one.role != "healthy" or one.id in known]
        runner = lesson.runner.variant(
            parts=parts.model_copy(update={"requests": kept}), expected=[*asked, *healthy]
        )  # fmt: skip
        bad, good = ([show(runner, tree) for _ in range(self.budget.confirm_both)] for tree in (self.bad, self.good))
        report = self._report(runner, bad, good)
        return Reproduced(report.model_copy(update={"reproduced": False, "reason": why}), runner)

    def _runner(self, parts: PlanParts, previous: LocalRunner | None) -> LocalRunner:
        if previous is not None:
            return previous.variant(parts=parts, expected=(), predicate=self.predicate)
        return LocalRunner(
            self.services, parts, self.predicate, self.workshop, self.suspects, renames=self.renames, keeper=self.keeper
        )

    def _late(self) -> bool:
        return time.monotonic() - self.begin > self.budget.seconds

    def _try(self, lesson: Lesson) -> str:
        """Return an empty string if these parts reproduce, else why they do not."""
        if self.predicate.slower_than_s and not self.predicate.ended:
            return self._try_slow(lesson)
        # first without the healthy requests: a failure must not need what a run may leave out
        for healthy in (False, True):
            shown = lesson.show(self.bad, lesson.bad, healthy=healthy)
            if shown.outcome.judgement != "bad":
                return _why_not(shown, "bad does not fail")
        # what bisection asks of good must be what good answers in both forms of a run, too
        for healthy in (True, True, False):
            shown = lesson.show(self.good, lesson.good, healthy=healthy)
            if not shown.said:
                return _why_not(shown, "good is not answered")
        why = self._why_both(lesson)
        if why:
            return why
        self.notes += lesson.apply()
        if not any(one.role == "failing" for one in lesson.runner.parts.requests):
            return "good does not answer the failing requests alike each time"
        return ""

    @staticmethod
    def _why_both(lesson: Lesson) -> str:
        """Return why good cannot be told from bad; a call that was not captured must not speak against good."""
        call = lesson.otherwise() if lesson.fails_at_good() else ""
        if call:
            called = " ".join(call.split(" ")[:3])
            return f"good makes a call that bad did not, and what it would be answered is not known: {called}"
        return "" if lesson.failing_ids() else GOOD_TOO

    def _try_slow(self, lesson: Lesson) -> str:
        """Measure interleaved runs of good and bad, and set the limit between them."""
        parts = lesson.runner.parts
        lesson.runner = lesson.runner.variant(parts=parts.model_copy(update={"repeat": max(SLOW_REPEAT, parts.repeat)}))
        for _ in range(5):
            for tree, kept in ((self.bad, lesson.bad), (self.good, lesson.good)):
                shown = lesson.show(tree, kept, healthy=False)
                if not shown.seconds:
                    return _why_not(shown, f"{tree.label} is not answered")
        self.slowness = _slowness(lesson)
        if not slownesses.is_slower(self.slowness):
            if min(self.slowness.good_s, self.slowness.bad_s) > (self.predicate.slower_than_s or 0.0):
                return f"{GOOD_TOO}: both take as long as was captured"
            return f"bad is not slower than good (ratio {self.slowness.ratio:.2f}, p {self.slowness.p_value:.3f})"
        self.predicate = self.predicate.model_copy(update={"slower_than_s": self.slowness.threshold_s})
        lesson.runner = lesson.runner.variant(predicate=self.predicate)
        self._learn_again(lesson)
        return "" if lesson.failing_ids() else "bad is not slower than the limit in a further run"

    def _confirmed(self, lesson: Lesson) -> Reproduced:
        """Shorten, repeat what is rare, then run bad and good in turn and count."""
        self._shorten(lesson)
        self._repeat_rare(lesson)
        bad: list[Shown] = []
        good: list[Shown] = []
        for _ in range(self.budget.confirm):
            bad.append(show(lesson.runner, self.bad))
            good.append(lesson.show(self.good, lesson.good))
        lesson.bad = [*bad, *lesson.bad]
        lesson.apply()
        if self.predicate.ended == "timeout":
            self.slowness = _slowness(Lesson(lesson.runner, good, bad))
        return Reproduced(self._report(lesson.runner, bad, good), lesson.runner)

    def _shorten(self, lesson: Lesson) -> None:
        """Leave out the requests before the failing ones that the failure does not need."""
        parts = lesson.runner.parts
        before = [one for one in parts.requests if one.role == "before"]
        rest = [one for one in parts.requests if one.role != "before"]
        if not before or self._late():
            return

        def fails(kept: list[PlannedRequest]) -> bool:
            runner = lesson.runner.variant(parts=parts.model_copy(update={"requests": [*kept, *rest]}))
            if self._late() or runner.run(self.bad, healthy=False).judgement != "bad":
                return False
            return runner.run(self.good, healthy=False).judgement == "good"

        kept = shrink(before, fails, self.budget.shrink)
        self.notes.append(f"{len(kept)} of {len(before)} requests before the failing ones are needed")
        needed = _for_healthy([one for one in before if one not in kept], rest)
        requests = [*kept, *needed, *rest]
        lesson.runner = lesson.runner.variant(parts=parts.model_copy(update={"requests": requests}))
        if needed:
            self._learn_again(lesson)

    def _learn_again(self, lesson: Lesson) -> None:
        """Learn what good answers to the requests that changed their role."""
        lesson.good, lesson.bad = [], []
        lesson.show(self.bad, lesson.bad)
        for _ in range(2):
            lesson.show(self.good, lesson.good)
        self.notes += lesson.apply()

    def _repeat_rare(self, lesson: Lesson) -> None:
        """Send the failing requests often enough that a run of bad hardly ever misses a rare failure."""
        sent = [a for shown in lesson.bad for a in shown.outcome.answers if a.role == "failing"]
        share = sum(answer.as_failure for answer in sent) / max(1, len(sent))
        parts = lesson.runner.parts
        if not 0 < share < 1 or self.slowness is not None or parts.way != "load":
            return
        failing = sum(one.role == "failing" for one in parts.requests)
        needed = math.ceil(math.log(MISSED) / math.log(1 - share) / failing)
        repeat = min(LARGEST_REPEAT, max(parts.repeat, needed))
        self.notes.append(f"each request fails in {share:.0%} of cases: a run sends it {repeat} times")
        lesson.runner = lesson.runner.variant(parts=parts.model_copy(update={"repeat": repeat}))

    def _report(
        self, runner: LocalRunner | None, bad: Sequence[Shown] = (), good: Sequence[Shown] = (), *, reason: str = ""
    ) -> Reproduction:
        fails = sum(shown.outcome.judgement == "bad" for shown in bad)
        good_fails = sum(shown.outcome.judgement == "bad" for shown in good)
        if runner is not None and (fails < len(bad) or good_fails):
            reason = f"bad failed in {fails} of {len(bad)} runs, good in {good_fails} of {len(good)}"
        return Reproduction(
            reproduced=runner is not None and _tells_apart(fails, len(bad), good_fails), reason=reason,
            parts=runner.parts if runner else None, predicate=self.predicate,
            expected=list(runner.expected) if runner else [], bad_runs=len(bad), bad_failures=fails,
            good_runs=len(good), good_failures=good_fails, rate=fails / len(bad) if bad else 0.0,
            exception_visible=bool(bad) and all(shown.visible for shown in bad), slowness=self.slowness,
            sandbox=self.workshop.bench.sandbox.describe(), runs=runner.runs if runner else 0,
            seconds=time.monotonic() - self.begin, notes=list(dict.fromkeys(self.notes)),
        )  # fmt: skip


def _tells_apart(fails: int, runs: int, good_fails: int) -> bool:
    """Tell whether bad fails and good does not, more clearly than chance would have it (Fisher's exact test).

    As many runs of good as of bad. A good revision that fails too is never told apart: one failing run is what
    judges a revision later.
    """
    if good_fails or not fails:
        return False
    return fails == runs or math.comb(runs, fails) / math.comb(2 * runs, fails) <= CHANCE


def _for_healthy(dropped: Sequence[PlannedRequest], rest: Sequence[PlannedRequest]) -> list[PlannedRequest]:
    """Return the dropped requests that are worth checking as healthy ones.

    These are a few of each kind, and those that healthy requests take a value from.
    """
    kinds: Counter[tuple[str, str]] = Counter((one.method, one.target.partition("?")[0]) for one in rest)
    used = "\n".join(_text(one) for one in rest)
    result = []
    for one in dropped:
        kind = (one.method, one.target.partition("?")[0])
        gives = any("{{" + name + "}}" in used for name in one.save)
        kinds[kind] += 1
        if gives or one.save.get("cookies") or kinds[kind] <= PER_SHAPE:
            result.append(one.model_copy(update={"role": "healthy"}))
            used += _text(one)
    return result[:HEALTHY_LIMIT]


def _text(one: PlannedRequest) -> str:
    """Return everything of a request that may name a saved value."""
    body = one.body.read_bytes().decode("utf-8", "replace") if one.body and one.body.suffix == ".body" else ""
    return "\n".join([one.target, *(value for _, value in one.headers), body])


def _slowness(lesson: Lesson) -> Slowness:
    """Compare per run the median of its failing requests' times, and the CPU time of the whole run."""
    good, bad = ([_median(shown) for shown in runs if shown.seconds] for runs in (lesson.good, lesson.bad))
    cpu = tuple(statistics.median([s.outcome.cpu_seconds for s in runs] or [0.0]) for runs in (lesson.good, lesson.bad))
    return slownesses.compare(good or [0.0], bad or [0.0], {"cpu_seconds": (cpu[0], cpu[1])})


def _median(shown: Shown) -> float:
    return statistics.median([second for seconds in shown.seconds.values() for second in seconds])


def _why_not(shown: Shown, default: str) -> str:
    if not shown.outcome.started:
        reason = shown.outcome.reason
        return reason if reason.startswith("does not start") else f"does not start: {reason}"
    return f"{default}: {shown.outcome.reason}" if shown.outcome.reason else default


def _rank(reason: str) -> int:
    """Order reasons by how much they say: a way in which both revisions fail says most."""
    return 2 if reason.startswith(GOOD_TOO) else 1 if ":" in reason or "ratio" in reason else 0


def _nothing(reason: str) -> Reproduced:
    return Reproduced(Reproduction(reproduced=False, reason=reason), None)
