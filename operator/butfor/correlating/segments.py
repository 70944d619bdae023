"""Per thread, which span was innermost at each moment: flattened, non-overlapping segments; vectorised."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from butfor.correlating.attributes import column
from butfor.correlating.orders import Ordered, Rows

BATCH = 250_000
"""Spans flattened at once: the table of maxima takes 8 bytes x log2(BATCH) each."""

SEGMENTS = pa.schema([
    ("service", pa.string()), ("thread", pa.string()), ("start_ns", pa.int64()), ("end_ns", pa.int64()),
    ("trace_id", pa.string()), ("span_id", pa.string()), ("row", pa.int64()),
])  # fmt: skip


def segments(spans: Ordered, thread: pa.Array | None = None) -> pa.Table:
    """Columns of SEGMENTS, by service, thread and time; `row` is the span's among `spans`.

    Where spans overlap without nesting (a thread that serves several requests in turn) the one that began last
    counts. Spans of no or negative duration have no segment; a span without end counts until the last time known
    of its trace. `thread`: what `threads` says of them, where it is known already.
    """
    thread = threads(spans.table) if thread is None else thread
    usable = np.flatnonzero(spans.end > spans.start)
    group = np.asarray(thread.dictionary_encode().indices, dtype=np.int64)
    by = usable[np.lexsort((spans.depth[usable], spans.start[usable], group[usable]))]
    parts = [_flatten(batch, group[batch], spans) for batch in _batches(by, group)]
    if not parts:
        return SEGMENTS.empty_table()
    row, start, end = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    taken = spans.table.select(["service", "trace_id", "span_id"]).take(pa.array(row))
    columns = {
        "service": taken["service"], "thread": thread.take(pa.array(row)), "start_ns": start, "end_ns": end,
        "trace_id": taken["trace_id"], "span_id": taken["span_id"], "row": row,
    }  # fmt: skip
    found = pa.table(columns, schema=SEGMENTS)
    return found.sort_by([("service", "ascending"), ("thread", "ascending"), ("start_ns", "ascending")])


def threads(table: pa.Table) -> pa.Array:
    """service, host, process and thread as one name. `thread.id` is the language's own id, unique in a process."""
    parts = [
        table["service"].combine_chunks(),
        column(table, "resource", "host.name"),
        column(table, "resource", "process.pid"),
        column(table, "resource", "service.instance.id"),
        pc.coalesce(column(table, "attributes", "thread.id"), column(table, "attributes", "thread.name")),
        pc.if_else(pc.equal(column(table, "attributes", "butfor.edge"), "true"), "edge", None),
    ]
    return pc.binary_join_element_wise(*parts, "/", null_handling="replace", null_replacement="")


def _batches(by: Rows, group: Rows) -> list[Rows]:
    """Rows split between threads, each part about BATCH long (a single thread is never split)."""
    if not len(by):
        return []
    change = np.flatnonzero(np.diff(group[by])) + 1
    cuts: list[int] = []
    last = 0
    for at in change.tolist():
        if at - last >= BATCH:
            cuts.append(at)
            last = at
    return [np.asarray(part) for part in np.split(by, cuts)]


def _flatten(rows: Rows, group: Rows, spans: Ordered) -> tuple[Rows, Rows, Rows]:
    """Rows sorted by (thread, start) into (row, start, end) of innermost segments."""
    start, end = spans.start[rows], spans.end[rows]
    moments, of = _moments(group, start, end)
    here, begin, until = of[:-1], moments[:-1], moments[1:]
    same = of[:-1] == of[1:]
    here, begin, until = here[same], begin[same], until[same]
    lowest = np.searchsorted(group, here, "left")
    latest = _count_started(group, start, here, begin) - 1
    active = _last_open(end, latest, lowest, begin)
    held = active >= lowest
    return _merged(rows[active[held]], begin[held], until[held])


def _moments(group: Rows, start: Rows, end: Rows) -> tuple[Rows, Rows]:
    """All starts and ends, each once per thread, in order."""
    at, of = np.concatenate((start, end)), np.concatenate((group, group))
    by = np.lexsort((at, of))
    at, of = at[by], of[by]
    new = np.ones(len(at), dtype=bool)
    new[1:] = (np.diff(at) != 0) | (np.diff(of) != 0)
    return at[new], of[new]


def _count_started(group: Rows, start: Rows, here: Rows, begin: Rows) -> Rows:
    """How many rows lie at or before (thread, moment) in the rows' own order."""
    of, at = np.concatenate((group, here)), np.concatenate((start, begin))
    asked = np.concatenate((np.zeros(len(group), np.int8), np.ones(len(here), np.int8)))
    by = np.lexsort((asked, at, of))
    started = np.cumsum(asked[by] == 0)
    counts = np.empty(len(of), dtype=np.int64)
    counts[by] = started
    return counts[len(group) :]


def _last_open(end: Rows, latest: Rows, lowest: Rows, moment: Rows) -> Rows:
    """For each query the largest row <= latest (and >= lowest) whose end lies after the moment, else lowest - 1.

    Binary lifting over window maxima: skip 2**k rows at a time where none of them is still open.
    """
    maxima: list[npt.NDArray[np.int64]] = [end]
    while (size := 1 << len(maxima)) <= len(end):
        last = maxima[-1]
        wider = last.copy()
        wider[size // 2 :] = np.maximum(last[size // 2 :], last[: -(size // 2)])
        maxima.append(wider)
    at = latest.copy()
    for k in range(len(maxima) - 1, -1, -1):
        fits = at - (1 << k) + 1 >= lowest
        closed = maxima[k][np.where(fits, at, 0)] <= moment
        at = np.where(fits & closed, at - (1 << k), at)
    return at


def _merged(row: Rows, start: Rows, end: Rows) -> tuple[Rows, Rows, Rows]:
    """Neighbouring pieces of one span become one."""
    if not len(row):
        return row, start, end
    new = np.ones(len(row), dtype=bool)
    new[1:] = (np.diff(row) != 0) | (start[1:] != end[:-1])
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(row)) - 1
    return row[first], start[first], end[last]
