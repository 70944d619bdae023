"""A failure that runs have shown, not the capture: the same timelines, explained by the requests that are given."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from butfor.correlating.failures import Group
from butfor.correlating.predicates import predicate_of
from butfor.correlating.signatures import kernel_failures
from butfor.evidence.predicates import AnswerProperty
from butfor.evidence.timelines import ExceptionSeen, RequestSeen, Timelines


def focus(timelines: Timelines, members: Sequence[int], answer: AnswerProperty | None, why: Sequence[str]) -> Timelines:
    """Return timelines whose failure is that of the requests `members`, told by their status or by `answer`.

    Requests of the same service that failed in the capture but not by a server error or a broken answer count as
    healthy: good answers them alike. An exception is part of the predicate only where the status tells the failure
    and every member shows it: an answer that is merely wrong has handled whatever was raised.
    """
    failing = sorted(members)
    first = timelines.requests[failing[0]]
    reason = [*why][:1] or ["good answers it otherwise"]
    requests = [_marked(one, reason, failed=i in failing) for i, one in enumerate(timelines.requests)]
    primary = None if answer else _shared([timelines.requests[i] for i in failing])
    reasons = list(why)
    group = Group(first.service, first.route, failing, primary, primary is not None, slow=False)
    predicate = predicate_of(group, requests, timelines.telemetry.payloads, None, reasons)
    if answer is not None:
        predicate = predicate.model_copy(update={"answer": answer})
    own = [i for i, one in enumerate(requests) if not one.failed and one.service == first.service]
    healthy = sorted(own, key=lambda i: requests[i].route != first.route)
    if timelines.joined.num_rows:
        alike = [requests[i] for i in healthy if requests[i].route == first.route]
        others = [requests[i] for i in healthy if requests[i].route != first.route]
        failed = [requests[i] for i in failing]
        shown = kernel_failures(timelines.telemetry.kernel, timelines.joined, timelines.spans, failed, alike, others)
        predicate = predicate.model_copy(update={"kernel": shown})
    return replace(
        timelines, requests=requests, predicate=predicate, failing=failing, healthy=healthy, reasons=reasons, rivals=[]
    )  # fmt: skip


def _marked(request: RequestSeen, reason: list[str], *, failed: bool) -> RequestSeen:
    if failed:
        return request.model_copy(update={"failed": True, "why": request.why or reason})
    outright = request.ended is not None or (request.status is not None and request.status >= 500)
    return request if outright else request.model_copy(update={"failed": False})


def _shared(members: Sequence[RequestSeen]) -> ExceptionSeen | None:
    """Return the first member's first exception whose type every member shows."""
    seen = Counter(name for one in members for name in {found.types[0] for found in one.exceptions})
    return next((found for found in members[0].exceptions if seen[found.types[0]] == len(members)), None)
