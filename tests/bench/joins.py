"""The join of kernel events to spans beside a plain ASOF join of the embedded ClickHouse over the same columns.

Threads run one request after the other. A few events carry what the kernel read of their thread, which ties the
kernel's thread ids to the spans'; the others are found by thread and time, which is all that the ASOF join does. Both
begin with Arrow tables in memory and end with one that has every event's span: ours as numbers with a dictionary of
`trace/span`, how and how sure; the ASOF join's as numbers alone, which is the least that would do, or as texts. A third
query only counts: it is no join that anyone could use, and shows what of the time is the answer's.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
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
EVERY = 20
"""One event of so many carries ids."""
_JOIN = """FROM Python(events) AS e ASOF JOIN Python(flat) AS s ON e.tid = s.tid AND e.time_ns >= s.start_ns"""
_QUERIES = {
    "numbers": f"SELECT e.event AS event, if(e.time_ns < s.end_ns, s.row, -1) AS row {_JOIN}",
    "counted": f"SELECT count() AS counted, sum(s.row * (e.time_ns < s.end_ns)) AS total {_JOIN}",
    "texts": f"SELECT e.event AS event, s.trace_id AS trace_id, s.span_id AS span_id {_JOIN} WHERE e.time_ns < s.end_ns",
}


@dataclass(frozen=True)
class Figures:
    """Seconds of each turn; how many events each way gave its own span."""

    ours: list[float] = field(default_factory=list)
    numbers: list[float] = field(default_factory=list)
    texts: list[float] = field(default_factory=list)
    counted: list[float] = field(default_factory=list)
    joined: int = 0


def measure(turns: int = 5, events: int = EVENTS, spans: int = SPANS_WANTED, every: int = EVERY) -> Figures:
    """All ways in turn over the same data, once before they count; RuntimeError where one gives a wrong span."""
    drawn = _Drawn(np.random.default_rng(7), events, spans, every)
    ways = {"ours": _ours(drawn)} | {form: partial(_asof, form, *drawn.plain()) for form in _QUERIES}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            gc.collect()
            begin = time.perf_counter()
            found = way()
            took = time.perf_counter() - begin
            if turn:
                seconds[name].append(took)
            elif not drawn.right(found):
                raise RuntimeError(f"{name}: not every event was given its span")
            del found
    return Figures(**seconds, joined=events)


def _ours(drawn: _Drawn) -> Callable[[], pa.Table]:
    """The join, with what other stages make of the spans anyhow at hand."""
    ordered = order(drawn.spans())
    thread = threads(ordered.table)
    flat = segments(ordered, thread)
    bundle = Bundle(path=Path(), manifest=None)
    telemetry = Telemetry(bundle, ordered.table, pa.table({}), kernel=drawn.kernel(), processes=_process())
    return lambda: join(telemetry, ordered, flat, thread).table


def _asof(form: str, events: pa.Table, flat: pa.Table) -> pa.Table:
    return chdb.query(_QUERIES[form], "ArrowTable")


class _Drawn:
    """Spans one after the other on each thread, and events at random moments of them."""

    def __init__(self, at: np.random.Generator, events: int, spans: int, every: int) -> None:
        self.every = every
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
            "trace_id": self.ids, "span_id": self.span_ids(),
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

    def plain(self) -> tuple[pa.Table, pa.Table]:
        """Of events and spans what an ASOF join needs."""
        event = np.arange(len(self.time))
        spans = {
            "tid": 100 + self.thread, "start_ns": self.start, "end_ns": self.end,
            "row": np.arange(len(self.start), dtype=np.int32), "trace_id": self.ids, "span_id": self.span_ids(),
        }  # fmt: skip
        return pa.table({"event": event, "tid": 100 + self.event_thread, "time_ns": self.time}), pa.table(spans)

    def span_ids(self) -> pa.Array:
        """The lower half of each trace id."""
        return pc.utf8_slice_codeunits(self.ids, 16, 32)

    def right(self, found: pa.Table) -> bool:
        """Whether every event was given its span, once."""
        if "counted" in found.column_names:
            return found.to_pylist() == [{"counted": len(self.of), "total": int(self.of.sum())}]
        if "row" in found.column_names:
            row = np.asarray(found["row"])
        else:
            texts = found["span" if "span" in found.column_names else "trace_id"].combine_chunks()
            coded = texts if isinstance(texts, pa.DictionaryArray) else texts.dictionary_encode()
            names = pc.utf8_slice_codeunits(coded.dictionary, 0, 32)
            row = np.asarray(pc.index_in(names, value_set=self.ids))[np.asarray(coded.indices)]
        given = np.full(len(self.of), -1)
        given[np.asarray(found["event"])] = row
        return found.num_rows == len(self.of) and bool((given == self.of).all())

    def kernel(self) -> pa.Table:
        """KERNEL: one event of `every` has ids, all have a tid."""
        count = len(self.time)
        told = np.arange(count) % self.every == 0
        row = np.where(told, self.of + 1, 0).astype(np.int32)
        numbers = {"time_ns": self.time, "pid": np.full(count, 100), "tid": 100 + self.event_thread}
        texts = {
            "trace_id": _coded(row, pa.concat_arrays([pa.array([""]), self.ids])),
            "span_id": _coded(row, pa.concat_arrays([pa.array([""]), self.span_ids()])),
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
