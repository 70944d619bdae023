"""What the kernel itself read of an event's span: ids, checked against the spans that were captured."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from butfor.correlating.orders import Ordered, Rows

SLACK_NS = 10_000_000
"""How far outside its span a moment may lie and still be its thread's: clocks differ, and ends are taken early."""

Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int32]


class Records:
    """The events' record columns. What `read` finds of each is one of the numbers below."""

    THREAD, STALE, TRACE, SOCKET, SOCKET_LATE, SOCKET_TRACE = range(1, 7)
    """Open span of the thread's record; one that was not open; only its trace was captured; the same of a socket's."""

    def __init__(self, events: pa.Table, spans: Ordered) -> None:
        self._spans = spans
        self._time, self._duration = (np.asarray(events[name], dtype=np.int64) for name in ("time_ns", "duration_ns"))
        self._join, self._miss = _Texts(events["join"]), _Texts(events["miss"])
        self._trace, self._span = _Texts(events["trace_id"]), _Texts(events["span_id"])
        self._none = self._trace.code("")
        table = spans.table
        self._first_of_trace = self._trace.rows(table["trace_id"].combine_chunks())
        self._first_of_span = self._span.rows(table["span_id"].combine_chunks())

    def read(self, part: slice) -> tuple[Rows, Rows, npt.NDArray[np.int8]]:
        """Events of the part that have a record (from 0), the row of the span of each or -1, and what it is."""
        thread = self._join.codes[part] == self._join.code("thread")
        asked = np.flatnonzero(thread | (self._join.codes[part] == self._join.code("socket")))
        whole = len(asked) == part.stop - part.start
        of_thread = thread if whole else thread[asked]
        trace_code = self._trace.codes[part] if whole else self._trace.codes[part][asked]
        span_code = self._span.codes[part] if whole else self._span.codes[part][asked]
        trace = self._first_of_trace[trace_code]
        row = self._checked(self._first_of_span[span_code], trace, trace_code, span_code)
        fits = self._fits(part, asked, row)
        found = np.where(row >= 0, np.where(fits, self.THREAD, self.STALE), self.TRACE).astype(np.int8)
        found[~of_thread] += self.SOCKET - self.THREAD
        return asked, np.where(row >= 0, row, trace), found

    def _checked(self, row: Rows, trace: Rows, trace_code: Codes, span_code: Codes) -> Rows:
        """The span must be of the record's trace; a span id that several traces have is looked up as a pair."""
        of = self._spans.trace
        known = (row >= 0) & (trace >= 0)
        right = of[np.where(known, row, 0)] == of[np.where(known, trace, 0)]
        row = np.where(known, row, -1)
        again = np.flatnonzero(known & ~right)
        if len(again):
            pairs = [texts.texts.take(pa.array(codes[again])) for texts, codes in
                     ((self._trace, trace_code), (self._span, span_code))]  # fmt: skip
            ids = pc.binary_join_element_wise(*pairs, "/")
            row[again] = np.asarray(pc.fill_null(pc.index_in(ids, value_set=self._spans.ids), -1))
        return row

    def _fits(self, part: slice, asked: Rows, row: Rows) -> Bools:
        """Whether the span was open in some moment between an event's beginning and end."""
        time, took = self._time[part][asked], self._duration[part][asked]
        at = np.where(row >= 0, row, 0)
        last = np.where(self._spans.unfinished[at], np.iinfo(np.int64).max - SLACK_NS, self._spans.end[at])
        found: Bools = (time >= self._spans.start[at] - SLACK_NS) & (time - np.maximum(took, 0) <= last + SLACK_NS)
        return found

    def untold(self, part: slice) -> Bools:
        """Events whose record names no trace."""
        found: Bools = self._trace.codes[part] == self._none
        return found

    def silent(self, events: Rows) -> Bools:
        """Events whose thread's record said that no span was active."""
        found: Bools = self._miss.codes[events] == self._miss.code("null")
        return found


class _Texts:
    """A column of repeating texts: codes and the distinct ones."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        values = _whole(column)
        self.codes, self.texts = np.asarray(values.indices), values.dictionary

    def code(self, text: str) -> int:
        """Its code, or one that no row has."""
        found: int = self.texts.index(text).as_py()
        return found if found >= 0 else -2

    def rows(self, known: pa.Array) -> Rows:
        """Per code the first row of `known` with its text, or -1; texts that no row has are not looked up."""
        found = np.full(len(self.texts), -1, np.int64)
        used = np.zeros(len(self.texts), dtype=bool)
        used[self.codes] = True
        at = np.flatnonzero(used)
        wanted = self.texts.take(pa.array(at))
        if 2 * len(at) > len(known):
            found[at] = np.asarray(pc.fill_null(pc.index_in(wanted, value_set=known), -1))
            return found
        # a table of the few that are asked for is quicker to fill than one of all that are known
        of = np.asarray(pc.fill_null(pc.index_in(known, value_set=wanted), -1))
        rows = np.flatnonzero(of >= 0)[::-1]  # the first row comes last, and stays
        found[at[of[rows]]] = rows
        return found


def encoded(values: pa.ChunkedArray) -> tuple[list[int], Codes]:
    """Distinct values and codes."""
    found = _whole(values).dictionary_encode()
    return found.dictionary.to_pylist(), np.asarray(found.indices)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """One array; not copied where it is one already."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
