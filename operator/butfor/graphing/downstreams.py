"""Downstream nodes: who was called, how that ended or how long it took, against what healthy requests got.

A downstream is unusual by its outcome (refused, reset, 5xx, timeout), by a delay clearly beyond every healthy
one, or by an answer of another form. `facts.itself_failed` tells a downstream that failed from one that was merely
slower than its caller would wait: then both the delay and the caller's limit are needed for the failure.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from butfor.evidence.graphs import Shape
from butfor.graphing import calls, features, spans
from butfor.graphing.builders import Builder
from butfor.graphing.calls import Call
from butfor.graphing.inputs import ABSENT
from butfor.graphing.scenes import Scene

MAX_DOWNSTREAMS = 60
_BEYOND = 1.5
_MAX_ANSWERS = 200

Calls = dict[str, list[list[Call]]]
"""Per key, per request, the calls."""


def add(builder: Builder, scene: Scene, shape: Shape) -> None:
    """Adds downstream nodes and their edges to the calling spans."""
    payloads = calls.client_payloads(scene.timelines.telemetry.payloads)
    failing = _by_key([calls.of_tree(t, scene, payloads) for t in scene.failing])
    healthy = _by_key([calls.of_tree(t, scene, payloads) for t in scene.healthy])
    buckets = {n.id: n.duration_buckets for n in shape.nodes}
    ranked = sorted(failing, key=lambda k: (all(c.well for group in failing[k] for c in group), k))
    for key in ranked[:MAX_DOWNSTREAMS]:
        _add(builder, scene, failing[key], healthy.get(key, []), buckets)


def _by_key(requests: Sequence[Sequence[Call]]) -> Calls:
    found: Calls = defaultdict(list)
    for made in requests:
        grouped: dict[str, list[Call]] = defaultdict(list)
        for call in made:
            grouped[call.key].append(call)
        for key, group in grouped.items():
            found[key].append(group)
    return found


def _add(
    builder: Builder, scene: Scene, failing: list[list[Call]], healthy: list[list[Call]],
    buckets: dict[str, dict[str, int]],
) -> None:  # fmt: skip
    call, share = _typical(failing, scene)
    every = [c for group in healthy for c in group]
    unusual, facts = _compared(scene, call, failing, healthy)
    facts |= _limits(call, every, buckets) | {"failing_share": round(share / len(scene.failing), 4)}
    node = builder.node(
        f"downstream:{call.peer}/{call.operation}", "downstream", f"{call.peer}: {call.span.name}", call.cited,
        exogenous=True, value=_said(call), healthy_value=calls.usual(every), unusual=unusual, facts=facts,
    )  # fmt: skip
    for one in _own(failing, scene) or [call]:
        builder.edge(node, spans.node_of(builder, scene, one.span.id), "data", one.cited)


def _own(failing: list[list[Call]], scene: Scene) -> list[Call]:
    mine = {place.span.id for place in scene.representative.places}
    return [c for group in failing for c in group if c.span.id in mine]


def _typical(failing: list[list[Call]], scene: Scene) -> tuple[Call, int]:
    """The call that stands for this downstream, and how many failing requests had its outcome.

    What went wrong stands before what went well; of these the most common, the representative's first.
    """
    worst = [next((c for c in group if not c.well), group[-1]) for group in failing]
    counted = Counter(c.outcome for c in worst)
    mine = {place.span.id for place in scene.representative.places}
    best = min(worst, key=lambda c: (c.well, -counted[c.outcome], c.outcome, c.span.id not in mine, c.span.id))
    return best, counted[best.outcome]


def _said(call: Call) -> str:
    took = "never ended" if call.span.seconds is None else f"after {call.span.seconds:.3f} s"
    return f"{call.outcome} {took}"


def _compared(
    scene: Scene, call: Call, failing: list[list[Call]], healthy: list[list[Call]]
) -> tuple[float, dict[str, Any]]:
    """How unusual the call is, and in which respect (`facts.differs`)."""
    same = sum(any(c.outcome == call.outcome for c in group) for group in healthy)
    facts: dict[str, Any] = {"outcome": call.outcome, "healthy_requests": len(healthy), "differs": []}
    unusual = 0.0
    if not call.well:
        unusual = scene.unusual(same, unknown=1.0)
        facts["differs"].append("outcome")
    elif healthy and not same:
        unusual = scene.unusual(0, unknown=0.0)
        facts["differs"].append("outcome")
    if _slow(failing, healthy):
        unusual = 1.0
        facts["differs"].append("delay")
    formed = _formed(scene, failing, healthy)
    if formed:
        unusual = 1.0
        facts |= {"differs": [*facts["differs"], "answer"], "answer_differs": formed}
    return unusual, facts


def _slow(failing: list[list[Call]], healthy: list[list[Call]]) -> bool:
    """Every failing request waited clearly longer than any healthy one did in all its calls together."""
    if not healthy:
        return False
    waits = [[sum(c.span.seconds or 0.0 for c in group) for group in side] for side in (failing, healthy)]
    return min(waits[0]) > _BEYOND * max(waits[1]) + 0.005


def _formed(scene: Scene, failing: list[list[Call]], healthy: list[list[Call]]) -> list[str]:
    """Parts of the answer whose kind is the same in all failing answers and in no healthy one."""
    sides = [_answers(scene, side) for side in (failing, healthy)]
    if not all(sides):
        return []
    parts = sorted({d for side in sides for found in side for d in found if d.startswith("body") and d[-1] != "="})
    return [part for part in parts if part != "body.size" and _apart(part, *sides)][:10]


def _apart(part: str, failing: list[features.Features], healthy: list[features.Features]) -> bool:
    bad = {found.get(part, ABSENT) for found in failing}
    return len(bad) == 1 and not bad & {found.get(part, ABSENT) for found in healthy}


def _answers(scene: Scene, side: list[list[Call]]) -> list[features.Features]:
    made = [c for group in side for c in group][:_MAX_ANSWERS]
    return [found for call in made if (found := _answer(scene, call))]


def _answer(scene: Scene, call: Call) -> features.Features | None:
    telemetry = scene.timelines.telemetry
    if call.payload is None or not call.well:
        return None
    return features.of_answer(telemetry.payloads[call.payload], telemetry.bundle.path)


def _limits(call: Call, healthy: list[Call], buckets: dict[str, dict[str, int]]) -> dict[str, Any]:
    """What is known about who gave up: the caller's wait, the answerer's own time, and healthy ones."""
    facts: dict[str, Any] = {"itself_failed": _itself_failed(call)}
    if call.span.seconds is not None:
        facts["waited_s"] = round(call.span.seconds, 6)
    if call.server is not None:
        facts["answered_in_s"] = None if call.server.seconds is None else round(call.server.seconds, 6)
    times = sorted(c.span.seconds for c in healthy if c.span.seconds is not None and c.well)
    if times:
        facts |= {"healthy_median_s": round(times[len(times) // 2], 6), "healthy_max_s": round(times[-1], 6)}
    if call.outcome == "timeout" and call.server is not None:
        facts["within_healthy"] = _within(call, healthy, buckets)
    return facts


def _itself_failed(call: Call) -> bool | None:
    """None: the caller gave up, and nothing tells what the other side was doing."""
    if call.outcome != "timeout":
        return not call.well
    if call.server is None or call.server.end is None:
        return None
    gave_up = call.span.end is not None and call.server.end > call.span.end
    # an answerer that was cut off by its caller may end with an error of its own: not its failure
    return call.server.error and not gave_up


def _within(call: Call, healthy: list[Call], buckets: dict[str, dict[str, int]]) -> bool | None:
    """Whether the other side took no longer than it does for others, whoever they were."""
    server = call.server
    if server is None or server.seconds is None:
        return None
    times = [c.server.seconds for c in healthy if c.server and c.server.seconds is not None]
    slower = sum(float(bound) >= server.seconds for bound in buckets.get(server.operation, {}))
    return bool(times and max(times) >= server.seconds) or slower > 1
