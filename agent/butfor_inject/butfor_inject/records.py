"""What is written of an exchange: its OTLP span, open or finished, and its message pair."""

from __future__ import annotations

import json
import time
from typing import Any

from butfor_inject import failures, functions
from butfor_inject.bodies import Body
from butfor_inject.exchanges import Exchange, Headers
from butfor_inject.texts import attributes, listed, members, pairs

SERVER, CLIENT, INTERNAL = 2, 3, 1
ERROR = 2
_LEFT = frozenset({
    "BrokenPipeError", "ConnectionResetError", "ConnectionAbortedError", "ClientDisconnect", "CancelledError",
    "GeneratorExit", "ConnectionDropped", "ClientConnectionResetError",
})  # fmt: skip
"""Exceptions by which a server learns that its client left."""


def server_span(exchange: Exchange, *, finished: bool) -> dict[str, Any]:
    """OTLP span of a request, as far as it got."""
    trace_id, span_id = exchange.ids
    span: dict[str, Any] = {
        "traceId": trace_id,
        "spanId": span_id,
        "parentSpanId": exchange.parent_id,
        "name": f"{exchange.method} {exchange.route}" if exchange.route else exchange.method,
        "kind": SERVER,
        "startTimeUnixNano": str(exchange.start_ns),
        "attributes": attributes(_facts(exchange)),
    }
    events = span_events(exchange)
    if events:
        span["events"] = listed(events)
    if finished:
        span["endTimeUnixNano"] = str(exchange.done_ns or time.time_ns())
        error = _error_type(exchange)
        if error is not None:
            span["status"] = {"code": ERROR, "message": _why(exchange)}
    return span


def evidence_span(exchange: Exchange) -> dict[str, Any] | None:
    """Beneath a server span that another tracer writes: what only we saw. None when there is nothing."""
    seen = exchange.exceptions or exchange.samples or exchange.functions
    if not (seen or exchange.ended or _statements_left_out(exchange)):
        return None
    span = server_span(exchange, finished=True)
    trace_id, parent_id = exchange.ids
    span.update(name="butfor.evidence", kind=INTERNAL, traceId=trace_id, parentSpanId=parent_id)
    span["spanId"] = exchange.span_id
    return span


def _facts(exchange: Exchange) -> dict[str, Any]:
    return {
        "http.request.method": exchange.method,
        "url.path": exchange.path,
        "url.query": exchange.query or None,
        "url.scheme": exchange.scheme,
        "http.route": exchange.route,
        "http.response.status_code": exchange.status,
        "error.type": _error_type(exchange),
        "server.port": exchange.port,
        "client.address": exchange.peer,
        "network.protocol.version": exchange.version or None,
        "http.request.body.size": exchange.request.size or None,
        "http.response.body.size": exchange.answer.size or None,
        "thread.id": exchange.thread,
        "butfor.ended": exchange.ended,
        "butfor.exceptions_not_described": exchange.more_exceptions or None,
        "butfor.statements_not_described": _statements_left_out(exchange),
    }


def _statements_left_out(exchange: Exchange) -> int | None:
    return (exchange.statements.more or None) if exchange.statements is not None else None


def _error_type(exchange: Exchange) -> str | None:
    """What the service did wrong; that its client left before it was done is not its own failure."""
    if exchange.ended and not exchange.gone:
        return "closed"
    if exchange.escaped and not (exchange.gone and _by_leaving(exchange.escaped)):
        return str(exchange.escaped["exception.type"])
    return str(exchange.status) if (exchange.status or 0) >= 500 else None


def _by_leaving(described: dict[str, Any]) -> bool:
    """Whether an exception only says that the client is no longer there."""
    return str(described["exception.type"]).rpartition(".")[2] in _LEFT


def _why(exchange: Exchange) -> str:
    if exchange.escaped:
        return str(exchange.escaped["exception.message"])[:200]
    reasons = {"closed": "closed without an answer", "truncated": "broken off"}
    return reasons.get(exchange.ended or "", "")


def span_events(exchange: Exchange) -> list[str]:
    """Exceptions in the order they were seen, then the sampled stacks, then the functions that ran."""
    events = []
    for described in list(exchange.exceptions.values()):
        values = {key: value for key, value in described.items() if key != "time_ns"}
        events.append(_event("exception", described["time_ns"], values))
    for stack, count in list(exchange.samples.items()):
        frames = json.dumps([failures.place(code, line) for code, line in stack if not failures.ours(code)])
        values = {"butfor.frames": frames, "butfor.count": count}
        events.append(_event("butfor.stack_sample", time.time_ns(), values))
    if exchange.functions:
        ran = functions.named(list(exchange.functions.values()))
        events.append(_event("butfor.functions", time.time_ns(), {"butfor.frames": json.dumps(ran)}))
    return events


def _event(name: str, time_ns: int, values: dict[str, Any]) -> str:
    return members({"timeUnixNano": str(time_ns), "name": name, "attributes": attributes(values)})


def message_pair(
    role: str, service: str, ids: tuple[str, str], asked: tuple[str, str, Headers], told: dict[str, Any],
    request: Body, answer: Body,
) -> dict[str, Any]:  # fmt: skip
    """The keys of butfor.evidence.requests.Payload; stores both bodies. `asked` is method, target, headers."""
    method, target, headers = asked
    return {
        "trace_id": ids[0],
        "span_id": ids[1],
        "role": role,
        "service": service,
        "method": method,
        "target": target,
        "request_headers": pairs(headers),
        "request_body": request.close(),
        "request_bytes": request.size,
        "request_truncated": request.truncated,
        "answer_body": answer.close(),
        "answer_bytes": answer.size,
        "answer_truncated": answer.truncated,
        **told,
    }


def server_payload(exchange: Exchange, service: str) -> dict[str, Any]:
    """The message pair of a finished exchange."""
    target = f"{exchange.path}?{exchange.query}" if exchange.query else exchange.path
    told = {
        "status": exchange.status,
        "answer_headers": pairs(exchange.answer_headers),
        "complete": exchange.ended is None,
        "ended": None if exchange.ended == "truncated" else exchange.ended,
        "start_ns": exchange.start_ns,
        "end_ns": exchange.done_ns or time.time_ns(),
        "peer": exchange.peer,
    }
    asked = (exchange.method, target, exchange.request_headers)
    return message_pair("server", service, exchange.ids, asked, told, exchange.request, exchange.answer)
