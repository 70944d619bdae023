"""Tables of the store: columns, codecs and order of the Collector's ClickHouse exporter 0.158.0, and our own."""

from __future__ import annotations

_MAP = "Map(LowCardinality(String), String)"

TRACES = (
    ("Timestamp", "DateTime64(9) CODEC(Delta(8), ZSTD(1))"),
    ("TraceId", "String CODEC(ZSTD(1))"),
    ("SpanId", "String CODEC(ZSTD(1))"),
    ("ParentSpanId", "String CODEC(ZSTD(1))"),
    ("TraceState", "String CODEC(ZSTD(1))"),
    ("SpanName", "LowCardinality(String) CODEC(ZSTD(1))"),
    ("SpanKind", "LowCardinality(String) CODEC(ZSTD(1))"),
    ("ServiceName", "LowCardinality(String) CODEC(ZSTD(1))"),
    ("ResourceAttributes", f"{_MAP} CODEC(ZSTD(1))"),
    ("ScopeName", "String CODEC(ZSTD(1))"),
    ("ScopeVersion", "String CODEC(ZSTD(1))"),
    ("SpanAttributes", f"{_MAP} CODEC(ZSTD(1))"),
    ("Duration", "UInt64 CODEC(ZSTD(1))"),
    ("StatusCode", "LowCardinality(String) CODEC(ZSTD(1))"),
    ("StatusMessage", "String CODEC(ZSTD(1))"),
    ("Events", f"Nested (Timestamp DateTime64(9), Name LowCardinality(String), Attributes {_MAP}) CODEC(ZSTD(1))"),
    ("Links", f"Nested (TraceId String, SpanId String, TraceState String, Attributes {_MAP}) CODEC(ZSTD(1))"),
)
LOGS = (
    ("Timestamp", "DateTime64(9) CODEC(Delta(8), ZSTD(1))"),
    ("TraceId", "String CODEC(ZSTD(1))"),
    ("SpanId", "String CODEC(ZSTD(1))"),
    ("TraceFlags", "UInt8"),
    ("SeverityText", "LowCardinality(String) CODEC(ZSTD(1))"),
    ("SeverityNumber", "UInt8"),
    ("ServiceName", "LowCardinality(String) CODEC(ZSTD(1))"),
    ("Body", "String CODEC(ZSTD(1))"),
    ("ResourceSchemaUrl", "LowCardinality(String) CODEC(ZSTD(1))"),
    ("ResourceAttributes", f"{_MAP} CODEC(ZSTD(1))"),
    ("ScopeSchemaUrl", "LowCardinality(String) CODEC(ZSTD(1))"),
    ("ScopeName", "String CODEC(ZSTD(1))"),
    ("ScopeVersion", "LowCardinality(String) CODEC(ZSTD(1))"),
    ("ScopeAttributes", f"{_MAP} CODEC(ZSTD(1))"),
    ("LogAttributes", f"{_MAP} CODEC(ZSTD(1))"),
    ("EventName", "String CODEC(ZSTD(1))"),
)
MATERIALIZED = (
    "k8s.cluster.name", "k8s.container.name", "k8s.deployment.name", "k8s.namespace.name", "k8s.node.name",
    "k8s.pod.name", "k8s.pod.uid", "deployment.environment.name",
)  # fmt: skip
"""Resource attributes that the exporter keeps as columns of otel_logs too; the server fills them in."""


def traces_table(ttl_days: int) -> str:
    """The statement that creates otel_traces."""
    columns = [f"{name} {kind}" for name, kind in TRACES]
    indices = [
        "INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1",
        *_attribute_indices(("res", "ResourceAttributes"), ("span", "SpanAttributes")),
        "INDEX idx_duration Duration TYPE minmax GRANULARITY 1",
    ]
    order = "ORDER BY (ServiceName, SpanName, toDateTime(Timestamp))"
    return _table("otel_traces", columns + indices, order, ttl_days)


def logs_table(ttl_days: int) -> str:
    """The statement that creates otel_logs."""
    columns = [f"{name} {kind}" for name, kind in LOGS]
    columns += [
        f"`__otel_materialized_{key}` LowCardinality(String) MATERIALIZED ResourceAttributes['{key}'] CODEC(ZSTD(1))"
        for key in MATERIALIZED
    ]
    indices = [
        "INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1",
        *_attribute_indices(("res", "ResourceAttributes"), ("scope", "ScopeAttributes"), ("log", "LogAttributes")),
        "INDEX idx_lower_body lower(Body) TYPE tokenbf_v1(32768, 3, 0) GRANULARITY 8",
    ]
    order = "ORDER BY (toStartOfFiveMinutes(Timestamp), ServiceName, Timestamp)"
    return _table("otel_logs", columns + indices, order, ttl_days)


def ttl(ttl_days: int) -> str:
    """The expression after which a day's raw rows are dropped."""
    return f"toDate(Timestamp) + toIntervalDay({int(ttl_days)})"


def _attribute_indices(*of: tuple[str, str]) -> list[str]:
    return [
        f"INDEX idx_{short}_attr_{part} map{part.capitalize()}s({column}) TYPE bloom_filter(0.01) GRANULARITY 1"
        for short, column in of
        for part in ("key", "value")
    ]


def _table(name: str, parts: list[str], order: str, ttl_days: int) -> str:
    return (
        f"CREATE TABLE IF NOT EXISTS {name} ({', '.join(parts)}) ENGINE = MergeTree PARTITION BY toDate(Timestamp) "
        f"{order} TTL {ttl(ttl_days)} SETTINGS index_granularity = 8192, ttl_only_drop_parts = 1"
    )
