"""The same reproduction with one thing set to its healthy value: a downstream's answers, a limit, the environment.

Each returns a runner, which is then run at bad by whoever decides the outcome; None where there is nothing to set.
A tree labelled `good` (assembling.GOOD) runs with `good_environment`: that is the configuration's intervention.
"""

from __future__ import annotations

from butfor.evidence.plays import StubAnswer
from butfor.evidence.telemetry import Telemetry
from butfor.evidence.timelines import Timelines
from butfor.reproducing.downstreams import Calls, healed
from butfor.reproducing.runners import LocalRunner


def healthy_downstreams(runner: LocalRunner, timelines: Timelines, telemetry: Telemetry) -> LocalRunner | None:
    """Replace the services that are not under suspicion by stubs that answer the failing requests as in health.

    Each call of a failing request gets the answer (and the delay) of the healthy call that is most like it; what
    a failing request called no more gets the healthy calls' answers as they were. Healthy requests keep theirs.
    """
    own = runner.suspects | {runner.predicate.service}
    names = frozenset(one.name for one in runner.services) - own
    calls = Calls(telemetry, names, runner.workshop.scratch / "bodies" / "healthy")
    healthy = calls.stubs([timelines.requests[index] for index in timelines.healthy])
    stubs: dict[str, dict[str, list[StubAnswer]]] = {}
    for request in runner.parts.requests:
        asked = calls.stubs([timelines.requests[int(request.id[1:])]])
        stubs[request.id] = _healed(asked, healthy) if request.role == "failing" else asked
    failing = [stubs[one.id] for one in runner.parts.requests if one.role == "failing"]
    if not healthy or not any(failing):
        return None
    kept = [one for one in runner.parts.requests if one.service not in healthy]
    changed = {"requests": kept, "stubs": stubs, "stubbed": sorted(healthy)}
    return runner.variant(parts=runner.parts.model_copy(update=changed))


def _healed(asked: dict[str, list[StubAnswer]], healthy: dict[str, list[StubAnswer]]) -> dict[str, list[StubAnswer]]:
    """Return the calls with healthy answers, and after them the healthy calls themselves."""
    result = {}
    for name, answers in healthy.items():
        alike = [healed(one, answers) for one in asked.get(name, [])]
        result[name] = [one for one in alike if one is not None] + answers
    return result


def lifted_limits(runner: LocalRunner) -> LocalRunner | None:
    """Run every service without the limits that its description (or its `run`, by `ulimit`) sets."""
    limited = [one for one in runner.services if one.limits or "ulimit" in one.run]
    return runner.variant(parts=runner.parts.model_copy(update={"lift_limits": True})) if limited else None
