"""Arrow tables between our schemas and the exporter's columns; vectorised, no I/O.

The exporter's Duration is unsigned and it writes a difference of two times: a negative duration wraps, and is read
back as negative here. A span without end has duration 0 and the attribute `butfor.unfinished`.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from butfor.evidence.telemetry import ATTRIBUTES, EVENT, LINK, LOGS, SPANS

_TIME = pa.timestamp("ns", tz="UTC")
_RANGES = {"TRACE": 1, "DEBUG": 5, "INFO": 9, "WARN": 13, "WARNING": 13, "ERROR": 17, "FATAL": 21, "CRITICAL": 21}


def spans_in(spans: pa.Table) -> pa.Table:
    """SPANS to the columns of otel_traces."""
    spans = spans.combine_chunks()
    start = spans["start_ns"].combine_chunks()
    duration = pc.subtract(pc.coalesce(spans["end_ns"].combine_chunks(), start), start)
    events, links = spans["events"].combine_chunks(), spans["links"].combine_chunks()
    empty = pa.array([""] * spans.num_rows, pa.string())
    return pa.table({
        "Timestamp": start.cast(_TIME), "TraceId": spans["trace_id"], "SpanId": spans["span_id"],
        "ParentSpanId": spans["parent_span_id"], "TraceState": empty, "SpanName": spans["name"],
        "SpanKind": pc.utf8_capitalize(spans["kind"]), "ServiceName": spans["service"],
        "ResourceAttributes": spans["resource"], "ScopeName": spans["scope"], "ScopeVersion": empty,
        "SpanAttributes": spans["attributes"],
        "Duration": pa.array(np.asarray(duration, dtype=np.int64).view(np.uint64)),
        "StatusCode": pc.utf8_capitalize(spans["status"]), "StatusMessage": spans["status_message"],
        "Events.Timestamp": _inner(events, "time_ns", _TIME), "Events.Name": _inner(events, "name"),
        "Events.Attributes": _inner(events, "attributes"), "Links.TraceId": _inner(links, "trace_id"),
        "Links.SpanId": _inner(links, "span_id"), "Links.TraceState": _blank(links),
        "Links.Attributes": _inner(links, "attributes"),
    })  # fmt: skip


def _inner(lists: pa.ListArray, field: str, kind: pa.DataType | None = None) -> pa.ListArray:
    """One field of a list of structs as a list of its own."""
    values = lists.flatten().field(field)
    return pa.ListArray.from_arrays(_offsets(lists), values.cast(kind) if kind else values)


def _offsets(lists: pa.ListArray) -> pa.Array:
    """Offsets from 0: flatten() leaves out what lies before a slice."""
    lengths = np.asarray(pc.fill_null(pc.list_value_length(lists), 0), dtype=np.int64)
    return pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32())


def _blank(lists: pa.ListArray) -> pa.ListArray:
    return pa.ListArray.from_arrays(_offsets(lists), pa.array([""] * len(lists.flatten()), pa.string()))


def logs_in(logs: pa.Table) -> pa.Table:
    """LOGS to the columns of otel_logs."""
    logs = logs.combine_chunks()
    empty = pa.array([""] * logs.num_rows, pa.string())
    severities = logs["severity"].to_pylist()
    return pa.table({
        "Timestamp": logs["time_ns"].combine_chunks().cast(_TIME), "TraceId": logs["trace_id"],
        "SpanId": logs["span_id"], "TraceFlags": pa.array([0] * logs.num_rows, pa.uint8()),
        "SeverityText": logs["severity"],
        "SeverityNumber": pa.array([_RANGES.get((s or "").upper(), 0) for s in severities], pa.uint8()),
        "ServiceName": logs["service"], "Body": logs["body"], "ResourceSchemaUrl": empty,
        "ResourceAttributes": logs["resource"], "ScopeSchemaUrl": empty, "ScopeName": empty, "ScopeVersion": empty,
        "ScopeAttributes": pa.array([[]] * logs.num_rows, ATTRIBUTES), "LogAttributes": logs["attributes"],
        "EventName": empty,
    })  # fmt: skip


def spans_out(rows: pa.Table) -> pa.Table:
    """otel_traces (times as ns) to SPANS. Kinds and statuses of older exporters (`SPAN_KIND_SERVER`) are known too."""
    rows = rows.combine_chunks()
    start = rows["Timestamp"].combine_chunks().cast(pa.int64())
    duration = pa.array(np.asarray(rows["Duration"].combine_chunks().cast(pa.uint64())).view(np.int64))
    attributes = _map(rows["SpanAttributes"])
    unfinished = pc.equal(pc.map_lookup(attributes, query_key="butfor.unfinished", occurrence="first"), "true")
    end = pc.if_else(pc.fill_null(unfinished, False), None, pc.add(start, duration))
    columns = [
        rows["TraceId"], rows["SpanId"], rows["ParentSpanId"], rows["SpanName"],
        _named(rows["SpanKind"], "SPAN_KIND_"), rows["ServiceName"], rows["ScopeName"], start, end,
        _named(rows["StatusCode"], "STATUS_CODE_"), rows["StatusMessage"], attributes, _map(rows["ResourceAttributes"]),
        _structs(rows, ("Events.Timestamp", "Events.Name", "Events.Attributes"), EVENT),
        _structs(rows, ("Links.TraceId", "Links.SpanId", "Links.Attributes"), LINK),
    ]  # fmt: skip
    return _shaped(columns, SPANS)


def logs_out(rows: pa.Table) -> pa.Table:
    """otel_logs (times as ns) to LOGS."""
    rows = rows.combine_chunks()
    columns = [
        rows["Timestamp"], rows["TraceId"], rows["SpanId"], rows["SeverityText"], rows["ServiceName"], rows["Body"],
        _map(rows["LogAttributes"]), _map(rows["ResourceAttributes"]),
    ]  # fmt: skip
    return _shaped(columns, LOGS)


def _shaped(columns: list[pa.Array | pa.ChunkedArray], schema: pa.Schema) -> pa.Table:
    plain = [c.combine_chunks() if isinstance(c, pa.ChunkedArray) else c for c in columns]
    cast = [c if c.type == field.type else c.cast(field.type) for c, field in zip(plain, schema, strict=True)]
    return pa.Table.from_arrays(cast, schema=schema)


def _named(values: pa.ChunkedArray, prefix: str) -> pa.Array:
    upper = pc.utf8_upper(values.combine_chunks().cast(pa.string()))
    return pc.if_else(pc.starts_with(upper, prefix), pc.utf8_slice_codeunits(upper, len(prefix)), upper)


def _map(values: pa.Array | pa.ChunkedArray) -> pa.MapArray:
    maps = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    keys, items = maps.keys.cast(pa.string()), maps.items.cast(pa.string())
    return pa.MapArray.from_arrays(_plain_offsets(maps), keys, items)


def _plain_offsets(maps: pa.MapArray) -> pa.Array:
    return pa.array(np.asarray(maps.offsets, dtype=np.int32))


def _structs(rows: pa.Table, names: tuple[str, ...], kind: pa.StructType) -> pa.ListArray:
    lists = [rows[name].combine_chunks() for name in names]
    fields = []
    for values, field in zip((one.flatten() for one in lists), kind, strict=True):
        fields.append(_map(values) if pa.types.is_map(values.type) else values.cast(field.type))
    return pa.ListArray.from_arrays(_offsets(lists[0]), pa.StructArray.from_arrays(fields, fields=list(kind)))
