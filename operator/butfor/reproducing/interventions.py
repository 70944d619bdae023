"""The same reproduction with one thing set to its healthy value: a downstream's answers, a limit, the environment.

Each returns a runner, which is then run at bad by whoever decides the outcome; None where there is nothing to set.
A tree labelled `good` (assembling.GOOD) runs with `good_environment`: that is the configuration's intervention.
"""

from __future__ import annotations

from butfor.evidence.telemetry import Telemetry
from butfor.evidence.timelines import Timelines
from butfor.reproducing.downstreams import healthy_stubs
from butfor.reproducing.runners import LocalRunner


def healthy_downstreams(runner: LocalRunner, timelines: Timelines, telemetry: Telemetry) -> LocalRunner | None:
    """Replace the services that are not under suspicion by stubs that answer as they did in healthy requests."""
    own = runner.suspects | {runner.predicate.service}
    names = frozenset(one.name for one in runner.services) - own
    failing = [one for one in runner.parts.requests if one.role == "failing"]
    bodies = runner.workshop.scratch / "bodies" / "healthy"
    stubs = healthy_stubs(timelines, telemetry, names, bodies, len(runner.parts.requests) * runner.parts.repeat)
    if not stubs or not failing:
        return None
    kept = [one for one in runner.parts.requests if one.service not in stubs]
    # bound to a failing request, because those are sent in every run
    changed = {"requests": kept, "stubs": {failing[0].id: stubs}, "stubbed": sorted(stubs)}
    return runner.variant(parts=runner.parts.model_copy(update=changed))


def lifted_limits(runner: LocalRunner) -> LocalRunner | None:
    """Run every service without the limits that its description (or its `run`, by `ulimit`) sets."""
    limited = [one for one in runner.services if one.limits or "ulimit" in one.run]
    return runner.variant(parts=runner.parts.model_copy(update={"lift_limits": True})) if limited else None
