"""Comparing runs with the patch against runs without it; pure functions that give one check each.

`passed` None means that it could not be told, and why; it is never a pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from butfor.evidence.runs import RunOutcome, SuiteOutcome
from butfor.evidence.verdicts import Check
from butfor.verifying.errors_seen import ErrorKey, errors_seen, words


@dataclass(frozen=True)
class Limits:
    """How much slower or costlier a patched service may be: a factor, and what is noise anyway."""

    latency_factor: float = 1.5
    latency_slack_s: float = 0.1
    cpu_factor: float = 1.5
    cpu_slack_s: float = 0.5


def reproduction(patched: Sequence[RunOutcome], wanted: int) -> Check:
    """Every run with the patch is good."""
    good = sum(outcome.judgement == "good" for outcome in patched)
    wrong = next((o for o in patched if o.judgement != "good"), None)
    detail = f"{good} of {len(patched)} runs answered as good does"
    if wrong is not None:
        detail += f"; one was {wrong.judgement}: {wrong.reason[:300]}"
    if wrong is None and len(patched) < wanted:
        return Check(name="reproduction", passed=None, detail=f"{detail}; {wanted} were wanted and the time is used up")
    return Check(name="reproduction", passed=wrong is None, detail=detail)


def healthy_requests(patched: Sequence[RunOutcome]) -> Check:
    """Each captured healthy request still gets its answer, in every run."""
    answers = [a for outcome in patched for a in outcome.answers if a.role == "healthy"]
    wrong = sorted({f"{a.id} ({a.status}: {a.why[:120]})" for a in answers if a.as_good is False})
    unknown = {a.id for a in answers if a.as_good is None}
    if not answers:
        return Check(name="healthy requests", passed=None, detail="no healthy request was captured")
    if wrong:
        return Check(name="healthy requests", passed=False, detail=f"other answers: {', '.join(wrong[:5])}")
    detail = f"{len({a.id for a in answers})} requests got their answers in {len(patched)} runs"
    return Check(
        name="healthy requests", passed=True, detail=detail + (f"; {len(unknown)} not comparable" if unknown else "")
    )


@dataclass(frozen=True)
class Sides:
    """Runs to compare: with the patch, at bad, and at good (empty where it was not run).

    `failing_patched` and `failing_bad` had no healthy requests in them: what they show is the failure's own.
    """

    patched: Sequence[RunOutcome]
    bad: Sequence[RunOutcome]
    good: Sequence[RunOutcome] = ()
    failing_patched: Sequence[RunOutcome] = ()
    failing_bad: Sequence[RunOutcome] = ()


def error_spans(sides: Sides) -> Check:
    """The failure's error spans are gone, and none is new that neither bad nor good has."""
    with_patch, at_bad, at_good = (_errors(side) for side in (sides.patched, sides.bad, sides.good))
    if with_patch is None or at_bad is None:
        return Check(name="error spans", passed=None, detail="the runs left no telemetry")
    new = with_patch - at_bad - (at_good or set())
    if new:
        # without good's own telemetry an answer that good gives through an exception cannot be told from a fault
        passed = False if at_good is not None else None
        return Check(name="error spans", passed=passed, detail=f"not seen before: {words(new)}")
    failure = (_errors(sides.failing_bad) or at_bad) - (at_good or set())
    left = _errors(sides.failing_patched) or set()
    lingering = {key for key in failure & left if key[2] != "UNSET"}
    if lingering and at_good is not None:
        return Check(name="error spans", passed=False, detail=f"still there: {words(lingering)}")
    gone = failure - left
    if not gone:
        return Check(name="error spans", passed=None, detail="bad's runs show no error span that good's do not")
    return Check(name="error spans", passed=True, detail=f"gone: {words(gone)}; none is new")


def _errors(outcomes: Sequence[RunOutcome]) -> set[ErrorKey] | None:
    folders = [outcome.telemetry for outcome in outcomes if outcome.telemetry is not None]
    return set().union(*(errors_seen(folder) for folder in folders)) if folders else None


def latency(sides: Sides, limits: Limits) -> Check:
    """No healthy request is slower than allowed, by its quickest answer; the failing ones only against good."""
    before, after = _quickest([*sides.bad, *sides.good], {"healthy"}), _quickest(sides.patched, {"healthy"})
    if sides.good:
        before |= _quickest(sides.good, {"failing"})
        after |= _quickest(sides.patched, {"failing"})
    common = sorted(before.keys() & after.keys())
    if not common:
        return Check(name="latency", passed=None, detail="no request was answered both with and without the patch")
    slow = [k for k in common if after[k] > before[k] * limits.latency_factor + limits.latency_slack_s]
    shown = [f"{k} {before[k] * 1000:.0f} -> {after[k] * 1000:.0f} ms" for k in slow[:5]]
    ratio = sum(after[k] for k in common) / max(1e-9, sum(before[k] for k in common))
    detail = f"slower: {', '.join(shown)}" if slow else f"{len(common)} requests, {ratio:.2f} times the time before"
    return Check(name="latency", passed=not slow, detail=detail)


def _quickest(outcomes: Iterable[RunOutcome], roles: set[str]) -> dict[str, float]:
    times: dict[str, float] = {}
    for outcome in outcomes:
        for answer in outcome.answers:
            if answer.role in roles and answer.as_good is not False:
                times[answer.id] = min(answer.seconds, times.get(answer.id, answer.seconds))
    return times


def cpu(sides: Sides, limits: Limits) -> Check:
    """CPU seconds of a whole run, the lowest of each side; good's count as well, for it does the full work."""
    seconds = [[o.cpu_seconds for o in s if o.cpu_seconds > 0] for s in (sides.patched, sides.bad, sides.good)]
    if not seconds[0] or not (seconds[1] or seconds[2]):
        return Check(name="cpu", passed=None, detail="CPU time was not measured")
    before = max(min(side) for side in seconds[1:] if side)
    after = min(seconds[0])
    passed = after <= before * limits.cpu_factor + limits.cpu_slack_s
    return Check(name="cpu", passed=passed, detail=f"{before:.2f} -> {after:.2f} s a run")


def broken_tests(bad: SuiteOutcome, patched: SuiteOutcome) -> list[str]:
    """Tests that pass on bad and do not pass with the patch (a test that is gone does not pass)."""
    return sorted(
        name for name, how in bad.tests.items() if how == "passed" and patched.tests.get(name, "gone") != "passed"
    )
