"""One OTLP/JSON span or log record as a row of the Arrow schemas; raises MalformedError for what is no record."""

from __future__ import annotations

from typing import Any

from butfor.ingesting.attributes import (
    MalformedError,
    Pairs,
    clean,
    enumerated,
    identity,
    items,
    nanoseconds,
    pairs,
    text,
)

KINDS = ("UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
STATUSES = ("UNSET", "OK", "ERROR")
MAX_EVENTS = 10_000
UNFINISHED = "butfor.unfinished"

Resource = tuple[str, Pairs]
"""service.name and all attributes of a resource."""


def resource_of(group: Any) -> Resource:
    """The resource of a ResourceSpans or ResourceLogs; `unknown_service` as the SDKs say where it has no name."""
    inner = group.get("resource") if isinstance(group, dict) else None
    found = pairs(inner.get("attributes") if isinstance(inner, dict) else None)
    return dict(found).get("service.name") or "unknown_service", found


def span_row(span: Any, scope: Any, resource: Resource) -> tuple[Any, ...]:
    """A row of `evidence.telemetry.SPANS`. A span without end gets `butfor.unfinished` = `true`."""
    if not isinstance(span, dict):
        raise MalformedError("a span is no object")
    trace_id, span_id = identity(span.get("traceId"), 16), identity(span.get("spanId"), 8)
    if not trace_id or not span_id:
        raise MalformedError("a span has no id")
    start = nanoseconds(span.get("startTimeUnixNano"))
    if start is None:
        raise MalformedError("a span has no start")
    end = nanoseconds(span.get("endTimeUnixNano"))
    attributes = pairs(span.get("attributes"))
    if end is None and all(key != UNFINISHED for key, _ in attributes):
        attributes.append((UNFINISHED, "true"))
    status = span.get("status") if isinstance(span.get("status"), dict) else {}
    assert isinstance(status, dict)
    return (
        trace_id, span_id, identity(span.get("parentSpanId"), 8), _text(span.get("name")),
        enumerated(span.get("kind"), KINDS, "SPAN_KIND_"), resource[0], _scope_name(scope), start, end,
        enumerated(status.get("code"), STATUSES, "STATUS_CODE_"), _text(status.get("message")),
        attributes, resource[1],
        [_event(event) for event in items(span, "events")[:MAX_EVENTS] if isinstance(event, dict)],
        [_link(link) for link in items(span, "links")[:MAX_EVENTS] if isinstance(link, dict)],
    )  # fmt: skip


def _event(event: dict[str, Any]) -> dict[str, Any]:
    return {
        "time_ns": nanoseconds(event.get("timeUnixNano")) or 0,
        "name": _text(event.get("name")),
        "attributes": pairs(event.get("attributes")),
    }


def _link(link: dict[str, Any]) -> dict[str, Any]:
    return {
        "trace_id": identity(link.get("traceId"), 16),
        "span_id": identity(link.get("spanId"), 8),
        "attributes": pairs(link.get("attributes")),
    }


def log_row(record: Any, scope: Any, resource: Resource) -> tuple[Any, ...]:
    """A row of `evidence.telemetry.LOGS`; the observed time stands in for an absent one, as in the Collector."""
    del scope  # logs are told apart by service; the schema has no scope
    if not isinstance(record, dict):
        raise MalformedError("a log record is no object")
    time = nanoseconds(record.get("timeUnixNano")) or nanoseconds(record.get("observedTimeUnixNano"))
    return (
        time or 0, identity(record.get("traceId"), 16), identity(record.get("spanId"), 8), _severity(record),
        resource[0], text(record.get("body")), pairs(record.get("attributes")), resource[1],
    )  # fmt: skip


def _severity(record: dict[str, Any]) -> str:
    """`severityText`, else the name of the number's range (1-4 TRACE ... 21-24 FATAL)."""
    given = _text(record.get("severityText"))
    number = record.get("severityNumber")
    if given or not isinstance(number, int) or not 1 <= number <= 24:
        return given
    return ("TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL")[(number - 1) // 4]


def _scope_name(scope: Any) -> str:
    inner = scope.get("scope") if isinstance(scope, dict) else None
    return _text(inner.get("name")) if isinstance(inner, dict) else ""


def _text(value: Any) -> str:
    return clean(value) if isinstance(value, str) else ""
