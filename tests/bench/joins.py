"""The join of kernel events to spans beside a plain ASOF join of the embedded ClickHouse over the same columns.

Threads run one request after the other. A few events carry what the kernel read of their thread, which ties the
kernel's thread ids to the spans'; the others are found by thread and time, which is all that the ASOF join does.
"""

from __future__ import annotations

import gc
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import chdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from butfor.correlating.joins import join
from butfor.correlating.orders import order
from butfor.correlating.segments import segments, threads
from butfor.evidence.bundles import Bundle
from butfor.evidence.kernels import KERNEL, PROCESSES
from butfor.evidence.telemetry import ATTRIBUTES, SPANS, Telemetry

EVENTS, SPANS_WANTED, THREADS = 10_000_000, 1_000_000, 64
_BASE, _STEP_NS = 1_700_000_000_000_000_000, 1_000_000
_EVERY = 20
"""One event of so many carries ids."""
_QUERY = """
SELECT count(), sum(s.row * (e.time_ns < s.end_ns)) FROM Python(events) AS e
ASOF JOIN Python(flat) AS s ON e.thread = s.thread AND e.time_ns >= s.start_ns
"""


@dataclass(frozen=True)
class Figures:
    """Seconds of each turn; how many events each way gave a span."""

    ours: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    joined: int = 0


def measure(turns: int = 5, events: int = EVENTS, spans: int = SPANS_WANTED) -> Figures:
    """Both ways in turn over the same data; RuntimeError where they disagree about the spans."""
    at = np.random.default_rng(7)
    drawn = _Drawn(at, events, spans)
    ordered = order(drawn.spans())
    thread = threads(ordered.table)
    flat = segments(ordered, thread)
    telemetry = Telemetry(
        bundle=Bundle(path=Path(), manifest=None),
        spans=ordered.table,
        logs=pa.table({}),
        kernel=drawn.kernel(),
        processes=_process(),
    )
    figures = Figures()
    for _ in range(turns):
        gc.collect()
        begin = time.perf_counter()
        found = join(telemetry, ordered, flat, thread)
        figures.ours.append(time.perf_counter() - begin)
        count = found.table.num_rows
        del found
        gc.collect()
        begin = time.perf_counter()
        plain = _asof(drawn)
        figures.plain.append(time.perf_counter() - begin)
        if {count, plain} != {events}:
            raise RuntimeError(f"{count} events were joined, {plain} by the ASOF join, of {events}")
    return Figures(figures.ours, figures.plain, events)


def _asof(drawn: _Drawn) -> int:
    events = pa.table({"thread": drawn.event_thread, "time_ns": drawn.time})  # noqa: F841 - the query reads it by name
    flat = pa.table({  # noqa: F841
        "thread": drawn.thread, "start_ns": drawn.start, "end_ns": drawn.end, "row": np.arange(len(drawn.start)),
    })  # fmt: skip
    return int(str(chdb.query(_QUERY, "CSV")).split(",")[0])


class _Drawn:
    """Spans one after the other on each thread, and events at random moments of them."""

    def __init__(self, at: np.random.Generator, events: int, spans: int) -> None:
        self.thread = np.arange(spans, dtype=np.int64) % THREADS
        self.start = _BASE + np.arange(spans, dtype=np.int64) // THREADS * _STEP_NS
        self.end = self.start + at.integers(_STEP_NS // 2, _STEP_NS, spans)
        self.of = at.integers(0, spans, events)
        self.event_thread = self.thread[self.of]
        inside = (at.random(events) * (self.end - self.start)[self.of]).astype(np.int64)
        self.time = self.start[self.of] + inside
        by = np.argsort(self.time, kind="stable")
        self.of, self.event_thread, self.time = self.of[by], self.event_thread[by], self.time[by]
        self.ids = pa.array([f"{number + 1:032x}" for number in range(spans)])

    def spans(self) -> pa.Table:
        """SPANS, each a request of its own that names its thread."""
        count = len(self.start)
        keys = pa.DictionaryArray.from_arrays(pa.array(np.zeros(count, np.int32)), pa.array(["thread.id"]))
        offsets = pa.array(np.arange(count + 1, dtype=np.int32))
        attributes = pa.MapArray.from_arrays(offsets, keys.cast(pa.string()), pa.array(self.thread).cast(pa.string()))
        columns: dict[str, Any] = {
            "trace_id": self.ids, "span_id": pc.utf8_slice_codeunits(self.ids, 16, 32),
            "start_ns": self.start, "end_ns": self.end, "attributes": attributes.cast(ATTRIBUTES),
        }  # fmt: skip
        texts = {"service": "shop", "kind": "SERVER", "name": "GET /", "status": "OK"}
        arrays = []
        for one in SPANS:
            if one.name in columns:
                arrays.append(pa.array(columns[one.name], one.type))
            elif one.type == pa.string():
                arrays.append(pa.repeat(pa.scalar(texts.get(one.name, "")), count))
            else:
                arrays.append(pa.repeat(pa.scalar([], one.type), count))
        return pa.table(arrays, schema=SPANS)

    def kernel(self) -> pa.Table:
        """KERNEL: one event of _EVERY has ids, all have a tid."""
        count = len(self.time)
        told = np.arange(count) % _EVERY == 0
        row = np.where(told, self.of + 1, 0).astype(np.int32)
        spans = pc.utf8_slice_codeunits(self.ids, 16, 32)
        numbers = {"time_ns": self.time, "pid": np.full(count, 100), "tid": 100 + self.event_thread}
        texts = {
            "trace_id": _coded(row, pa.concat_arrays([pa.array([""]), self.ids])),
            "span_id": _coded(row, pa.concat_arrays([pa.array([""]), spans])),
            "join": _coded(told, pa.array(["none", "thread"])), "miss": _coded(told, pa.array(["no_slot", ""])),
            "kind": _coded(np.zeros(count), pa.array(["open"])),
        }  # fmt: skip
        arrays = []
        for one in KERNEL:
            if one.name in texts:
                arrays.append(texts[one.name])
            elif pa.types.is_dictionary(one.type):
                arrays.append(_coded(np.zeros(count), pa.array([""])))
            else:
                values = np.asarray(numbers.get(one.name, np.zeros(count)))
                arrays.append(pa.array(values.astype(one.type.to_pandas_dtype())))
        return pa.table(arrays, schema=KERNEL)


def _coded(codes: NDArray[Any], texts: pa.Array) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), texts)


def _process() -> pa.Table:
    row = dict.fromkeys(PROCESSES.names) | {"pid": 100, "inner_pid": 1, "parent": 0, "service": "shop"}
    return pa.Table.from_pylist([row], PROCESSES)


if __name__ == "__main__":
    sys.stdout.write(f"{measure(2, int(sys.argv[1]), int(sys.argv[2]))}\n")
