"""Telemetry as Arrow tables: the columns that every stage after ingest may rely on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pyarrow as pa

import butfor.evidence.arrows  # noqa: F401  (whoever handles telemetry does without pandas)
from butfor.evidence.bundles import Bundle, Loss
from butfor.evidence.kernels import KERNEL, PROCESSES, STACKS
from butfor.evidence.requests import Payload

ATTRIBUTES = pa.map_(pa.string(), pa.string())
"""Attribute values as text, the way the Collector's ClickHouse exporter writes them (JSON for lists and maps)."""

EVENT = pa.struct([("time_ns", pa.int64()), ("name", pa.string()), ("attributes", ATTRIBUTES)])
LINK = pa.struct([("trace_id", pa.string()), ("span_id", pa.string()), ("attributes", ATTRIBUTES)])

SPANS = pa.schema(
    [
        ("trace_id", pa.string()),  # 32 hex digits
        ("span_id", pa.string()),  # 16 hex digits
        ("parent_span_id", pa.string()),  # empty for a root
        ("name", pa.string()),
        ("kind", pa.string()),  # SERVER, CLIENT, INTERNAL, PRODUCER, CONSUMER, UNSPECIFIED
        ("service", pa.string()),
        ("scope", pa.string()),
        ("start_ns", pa.int64()),  # Unix nanoseconds
        ("end_ns", pa.int64()),  # null: the span was never finished
        ("status", pa.string()),  # UNSET, OK, ERROR
        ("status_message", pa.string()),
        ("attributes", ATTRIBUTES),
        ("resource", ATTRIBUTES),
        ("events", pa.list_(EVENT)),
        ("links", pa.list_(LINK)),
    ]
)
"""An unfinished span also carries the attribute `butfor.unfinished` = `true`."""

EVIDENCE = "butfor.evidence"
"""Name of a span that is none: what capture saw of its parent, which another tracer wrote, or which never ended."""

LOGS = pa.schema(
    [
        ("time_ns", pa.int64()),
        ("trace_id", pa.string()),
        ("span_id", pa.string()),
        ("severity", pa.string()),
        ("service", pa.string()),
        ("body", pa.string()),
        ("attributes", ATTRIBUTES),
        ("resource", ATTRIBUTES),
    ]
)


@dataclass(frozen=True)
class Telemetry:
    """What ingest hands on. `payloads` are in time order; `payload_path(hash)` is `bundle.path/payloads/hash`.

    `kernel`, `processes` and `stacks` are empty where the kernel was not watched.
    """

    bundle: Bundle
    spans: pa.Table
    logs: pa.Table
    payloads: list[Payload] = field(default_factory=list)
    losses: list[Loss] = field(default_factory=list)
    kernel: pa.Table = field(default_factory=KERNEL.empty_table)
    processes: pa.Table = field(default_factory=PROCESSES.empty_table)
    stacks: pa.Table = field(default_factory=STACKS.empty_table)

    def unwatched(self) -> Telemetry:
        """The same as if the kernel had not been watched."""
        return replace(
            self, kernel=KERNEL.empty_table(), processes=PROCESSES.empty_table(), stacks=STACKS.empty_table()
        )
