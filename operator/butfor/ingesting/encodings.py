"""OTLP export requests between their encodings: protobuf and OTLP/JSON (ids hex, enums as numbers)."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2

from butfor.ingesting.attributes import MalformedError, identity

Kind = Literal["spans", "logs", "metrics"]
_ID_SIZES = {"traceId": 16, "spanId": 8, "parentSpanId": 8}


class DecodingError(ValueError):
    """A body that is no export request; the message may go back to the client."""


class TooLargeError(DecodingError):
    """A body that unpacks to more than the receiver takes."""


@dataclass(frozen=True)
class Signal:
    """One of OTLP's services: its messages and the names in its JSON form."""

    kind: Kind
    request: Callable[[], Any]
    response: Callable[[], Any]
    rejected: str
    groups: tuple[str, str, str]


SIGNALS: dict[Kind, Signal] = {
    "spans": Signal(
        "spans",
        trace_service_pb2.ExportTraceServiceRequest,
        trace_service_pb2.ExportTraceServiceResponse,
        "rejected_spans",
        ("resourceSpans", "scopeSpans", "spans"),
    ),
    "logs": Signal(
        "logs",
        logs_service_pb2.ExportLogsServiceRequest,
        logs_service_pb2.ExportLogsServiceResponse,
        "rejected_log_records",
        ("resourceLogs", "scopeLogs", "logRecords"),
    ),
    "metrics": Signal(
        "metrics",
        metrics_service_pb2.ExportMetricsServiceRequest,
        metrics_service_pb2.ExportMetricsServiceResponse,
        "rejected_data_points",
        ("resourceMetrics", "scopeMetrics", "metrics"),
    ),
}


def gunzip(body: bytes, limit: int) -> bytes:
    """Unpack at most `limit` bytes; raises DecodingError for what is no gzip, TooLargeError beyond the limit."""
    unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        plain = unpacker.decompress(body, limit + 1)
    except zlib.error as error:
        raise DecodingError(f"the body is not gzip: {error}") from None
    if len(plain) > limit:
        raise TooLargeError(f"the body unpacks to more than {limit} bytes")
    if not unpacker.eof:
        raise DecodingError("the gzip body is cut off")
    return plain


def from_protobuf(signal: Signal, body: bytes) -> dict[str, Any]:
    """The OTLP/JSON document of a protobuf request."""
    message = signal.request()
    try:
        message.ParseFromString(body)
    except DecodeError as error:
        raise DecodingError(f"the body is no {message.DESCRIPTOR.name}: {error}") from None
    return document(message)


def document(message: Message) -> dict[str, Any]:
    """A request message as OTLP/JSON; protobuf's own JSON has ids in base64."""
    found: dict[str, Any] = json_format.MessageToDict(message, use_integers_for_enums=True)
    _each_id(found, lambda value, _size: base64.b64decode(value).hex())
    return found


def from_json(signal: Signal, body: bytes) -> tuple[dict[str, Any], int]:
    """The normalised document of an OTLP/JSON request, and how many records were rejected for their ids."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DecodingError(f"the body is no JSON: {str(error) or 'nested too deep'}") from None
    if not isinstance(found, dict):
        raise DecodingError("the body is no JSON object")
    rejected = _drop_malformed(signal, found)
    message = signal.request()
    try:
        _each_id(found, lambda value, size: base64.b64encode(bytes.fromhex(identity(value, size))).decode())
        json_format.ParseDict(found, message, ignore_unknown_fields=True)
    except (json_format.ParseError, RecursionError, ValueError, TypeError, AttributeError) as error:
        raise DecodingError(f"the body is no {message.DESCRIPTOR.name}: {error}"[:500]) from None
    return document(message), rejected


def _drop_malformed(signal: Signal, found: dict[str, Any]) -> int:
    """Take records out whose ids are no ids; the answer counts them as rejected."""
    rejected = 0
    outer, inner, records = signal.groups
    for group in _objects(found.get(outer)):
        for scope in _objects(group.get(inner)):
            given = scope.get(records)
            if isinstance(given, list):
                scope[records] = [record for record in given if _ids_hold(record)]
                rejected += len(given) - len(scope[records])
    return rejected


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _ids_hold(record: Any) -> bool:
    try:
        _each_id(record, lambda value, size: identity(value, size) and value)
    except MalformedError:
        return False
    return True


def _each_id(value: Any, change: Callable[[Any, int], Any]) -> None:
    """Replace ids at any depth, iteratively: the nesting is the sender's."""
    waiting = [value]
    while waiting:
        current = waiting.pop()
        if isinstance(current, list):
            waiting.extend(current)
        elif isinstance(current, dict):
            for key, inner in current.items():
                if key in _ID_SIZES:
                    current[key] = change(inner, _ID_SIZES[key])
                elif isinstance(inner, dict | list):
                    waiting.append(inner)


def rejections(signal: Signal, document: dict[str, Any]) -> int:
    """Take records without usable ids out of a decoded document; returns how many."""
    if signal.kind != "spans":
        return 0
    rejected = 0
    outer, inner, records = signal.groups
    for group in document.get(outer, []):
        for scope in group.get(inner, []):
            given = scope.get(records, [])
            scope[records] = [r for r in given if len(r.get("traceId", "")) == 32 and len(r.get("spanId", "")) == 16]
            rejected += len(given) - len(scope[records])
    return rejected
