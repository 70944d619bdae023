"""Stubs for services that are not under suspicion: each captured call is replayed, bound to its span.

A call is replayed as the *downstream* answered it, not as the caller saw it: where the caller gave up after
50 ms, the stub still answers after the 120 ms that the downstream took, so that a more patient caller gets
the answer. Where nobody saw the downstream's own end, it never answers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from butfor.evidence.plays import StubAnswer
from butfor.evidence.requests import Payload
from butfor.evidence.telemetry import Telemetry
from butfor.evidence.timelines import RequestSeen, Timelines
from butfor.reproducing.carrying import HOP_BY_HOP

REFUSED = ("ConnectionRefusedError", "ConnectError", "ECONNREFUSED")


def stubs_for(
    requests: Sequence[RequestSeen], telemetry: Telemetry, downstream: frozenset[str]
) -> dict[str, list[StubAnswer]]:
    """Return, per downstream that was called while `requests` were served, its answers in the order of calls.

    `requests` are in the order in which they will be sent. A downstream that was not called is not stubbed.
    """
    folder = telemetry.bundle.path / "payloads"
    result: dict[str, list[StubAnswer]] = {}
    for request in requests:
        for name, call in calls_of(request, telemetry, downstream):
            result.setdefault(name, []).append(_answer(call, request, telemetry, folder))
    return result


def calls_of(request: RequestSeen, telemetry: Telemetry, downstream: frozenset[str]) -> list[tuple[str, list[Payload]]]:
    """Return (downstream, payloads of one call: edge, server, client as far as captured) in time order."""
    trace = request.span.split("/")[0]
    received = [p for p in telemetry.payloads if p.trace_id == trace and p.service in downstream and p.role != "client"]
    outer = [p for p in received if p.role == "edge"] or received
    parents = _parents(telemetry, trace)
    calls = [(p.service, [p, *_inner(p, received, parents), *_outgoing(p, telemetry, parents)]) for p in outer]
    return sorted(calls, key=lambda call: call[1][0].start_ns)


def healthy_stubs(
    timelines: Timelines, telemetry: Telemetry, downstream: frozenset[str], count: int
) -> dict[str, list[StubAnswer]]:
    """Return each downstream's answers in healthy requests, repeated to `count` per downstream.

    This is the intervention *put the downstream's healthy answer back*.
    """
    healthy = [timelines.requests[index] for index in timelines.healthy]
    stubs = stubs_for(healthy, telemetry, downstream)
    good = {
        name: [one for one in found if one.ended is None and (one.status or 500) < 500] for name, found in stubs.items()
    }
    return {
        name: [found[n % len(found)] for n in range(max(count, len(found)))] for name, found in good.items() if found
    }


def _answer(call: Sequence[Payload], request: RequestSeen, telemetry: Telemetry, folder: Path) -> StubAnswer:
    """Return what the stub does for one call, from whoever saw most of it."""
    first = call[0]
    whole = next((p for p in call if p.complete and p.ended is None and p.status is not None), None)
    source = whole or first
    ended = None if whole else _ended(call, request)
    headers = [(n, v) for n, v in source.answer_headers if n.lower() not in HOP_BY_HOP]
    return StubAnswer(
        span=f"{first.trace_id}/{first.span_id}", method=first.method, target=first.target,
        request_body=first.request_body, status=source.status, headers=headers,
        body=_body(folder, source), delay_s=_took(call, source, telemetry), ended=ended,
    )  # fmt: skip


def _ended(call: Sequence[Payload], request: RequestSeen) -> str | None:
    """Return how a call ended that nobody saw answered."""
    if any(p.ended == "timeout" for p in call):
        return "timeout"
    refused = any(name.endswith(REFUSED) for seen in request.exceptions for name in seen.types)
    return "refused" if refused and all(p.status is None for p in call) else "closed"


def _took(call: Sequence[Payload], source: Payload, telemetry: Telemetry) -> float:
    """Return seconds until the answer: of the payload that has it, else of the downstream's own span."""
    if source.end_ns is not None:
        return max(0.0, (source.end_ns - source.start_ns) / 1e9)
    ids = {p.span_id for p in call}
    columns = telemetry.spans.select(["trace_id", "span_id", "start_ns", "end_ns"]).to_pydict()
    for trace, span, start, end in zip(*columns.values(), strict=True):
        if trace == source.trace_id and span in ids and end is not None:
            return float(max(0, end - start)) / 1e9
    return 0.0


def _parents(telemetry: Telemetry, trace: str) -> dict[str, str]:
    columns = telemetry.spans.select(["trace_id", "span_id", "parent_span_id"]).to_pydict()
    rows = zip(columns["trace_id"], columns["span_id"], columns["parent_span_id"], strict=True)
    return {span: parent for of, span, parent in rows if of == trace}


def _inner(edge: Payload, received: Sequence[Payload], parents: dict[str, str]) -> list[Payload]:
    """Return the server payloads below an edge's span."""
    return [p for p in received if p.role == "server" and parents.get(p.span_id) == edge.span_id]


def _outgoing(edge: Payload, telemetry: Telemetry, parents: dict[str, str]) -> list[Payload]:
    """Return the caller's payload of the same call."""
    caller = parents.get(edge.span_id)
    same = [p for p in telemetry.payloads if p.role == "client" and p.trace_id == edge.trace_id]
    return [p for p in same if p.span_id == caller]


def _body(folder: Path, payload: Payload) -> Path | None:
    name = payload.answer_body
    path = folder / name if name and re.fullmatch(r"[0-9a-f]{64}", name) else None
    return path if path is not None and path.is_file() else None
