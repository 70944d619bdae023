"""The ways in which a captured failure is tried to be had again, cheapest and most deterministic first.

    alone      the failing requests, from a fresh prepare
    state      after the captured requests that build state
    sequence   after all that was captured before them
    load       mixed with healthy requests, concurrent and repeated as captured

Each is tried with downstreams replaced by stubs first (where their calls were captured), then with the real ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from butfor.evidence.plays import StubAnswer
from butfor.evidence.reproductions import PlanParts
from butfor.evidence.telemetry import Telemetry
from butfor.reproducing.carrying import Step, plan_requests
from butfor.reproducing.downstreams import Calls
from butfor.reproducing.selections import Captured, Selection

Way = Literal["alone", "state", "sequence", "load"]
LOAD_REPEAT = 10


def attempts(
    selection: Selection,
    telemetry: Telemetry,
    service: str,
    downstream: frozenset[str],
    bodies: Path,
    case: Path | None,
) -> Iterator[PlanParts]:
    """Yield the plan parts to try, in order; ways that send the same requests are not repeated."""
    tried: list[list[Step]] = []
    calls = Calls(telemetry, downstream, bodies / "stubs")
    ways: list[tuple[Way, list[Step]]] = [
        ("alone", _steps(selection, [])), ("state", _steps(selection, selection.state)),
        ("sequence", _steps(selection, selection.sequence)), ("load", _steps(selection, selection.state)),
    ]  # fmt: skip
    for way, steps in ways:
        if steps in tried and way != "load":
            continue
        tried.append(steps)
        load = way == "load"
        requests = plan_requests(steps, telemetry, bodies / way)
        parts = PlanParts(
            service=service, requests=requests, case=case, way=way,
            concurrency=selection.concurrency if load else 1, repeat=LOAD_REPEAT if load else 1,
        )  # fmt: skip
        stubs = stubs_of(steps, calls)
        stubbed = sorted({name for answers in stubs.values() for name in answers})
        if stubbed:
            own = [one for one in requests if one.service not in stubbed]
            yield parts.model_copy(update={"stubs": stubs, "stubbed": stubbed, "requests": own})
        yield parts


def stubs_of(steps: Sequence[Step], calls: Calls) -> dict[str, dict[str, list[StubAnswer]]]:
    """Return, per planned request's id, what each downstream answered while it was served."""
    found = {f"r{step.captured.order}": calls.stubs([step.captured.seen]) for step in steps}
    return {name: answers for name, answers in found.items() if answers}


def _steps(selection: Selection, before: Sequence[Captured]) -> list[Step]:
    """Return `before`, healthy and failing requests; what is sent before is not sent again as healthy."""
    sent = {one.order for one in before}
    return [
        *(Step("before", one) for one in before),
        *(Step("healthy", one) for one in selection.healthy if one.order not in sent),
        *(Step("failing", one) for one in selection.failing),
    ]
