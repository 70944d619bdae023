"""What the kernel itself read of an event's span: ids, checked against the spans that were captured."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from butfor.correlating.lookups import first_rows
from butfor.correlating.orders import Ordered, Rows

SLACK_NS = 10_000_000
"""How far outside its span a moment may lie and still be its thread's: clocks differ, and ends are taken early."""

Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int32]
Kinds = npt.NDArray[np.int8]


class Records:
    """The events' record columns. What is found of each is one of the numbers below.

    In order: `told` of every part, `look_up`, `read` of what was told, `look_up_traces`, `search` of what was odd.
    """

    THREAD, STALE, TRACE, SOCKET, SOCKET_LATE, SOCKET_TRACE = range(1, 7)
    """Open span of the thread's record; one that was not open; only its trace was captured; the same of a socket's."""

    def __init__(self, events: pa.Table, spans: Ordered) -> None:
        self._spans = spans
        self._ids = {name: spans.table[name].combine_chunks() for name in ("trace_id", "span_id")}
        self._time, self._duration = (np.asarray(events[name], dtype=np.int64) for name in ("time_ns", "duration_ns"))
        self._join, self._miss = _Texts(events["join"]), _Texts(events["miss"])
        self._trace, self._span = _Texts(events["trace_id"]), _Texts(events["span_id"])
        self._thread, self._socket = self._join.code("thread"), self._join.code("socket")
        self._none, self._null = self._trace.code(""), self._miss.code("null")
        self._trace_of = np.full(len(self._span.texts), -1, np.int32)
        self._row = self._first_of_span = self._first_of_trace = np.empty(0, np.int32)

    def told(self, part: slice) -> Rows:
        """Events of the part whose record names a span; of a socket for which none was stored it names none."""
        join = self._join.codes[part]
        told = ((join == self._thread) | (join == self._socket)) & ~self.untold(part)
        events: Rows = np.flatnonzero(told) + part.start
        # a span id is hardly ever in two traces: of such, any one is noted, and the others' events are odd
        self._trace_of[self._span.codes[events]] = self._trace.codes[events]
        return events

    def look_up(self) -> None:
        """The row of each span id that is told, and whether its span is of the trace that is told with it."""
        used = np.flatnonzero(self._trace_of >= 0)
        row = first_rows(self._span.texts.take(pa.array(used)), self._ids["span_id"])
        known = np.flatnonzero(row >= 0)
        trace = self._trace.texts.take(pa.array(self._trace_of[used[known]]))
        right = np.asarray(pc.equal(trace, self._ids["trace_id"].take(pa.array(row[known]))))
        self._row = np.full(len(self._trace_of), -1, np.int32)
        self._first_of_span = self._row.copy()
        self._first_of_span[used] = row
        self._row[used[known[right]]] = row[known[right]]

    def read(self, events: Rows) -> tuple[Rows, Kinds, Rows]:
        """Row of the span of each told event, and what it is; and the events that are odd, which have -1 so far."""
        span = self._span.codes[events]
        row = np.where(self._trace_of[span] == self._trace.codes[events], self._row[span], -1)
        return row, self._found(events, row), events[row < 0]

    def look_up_traces(self, events: Rows) -> None:
        """The first row of each trace that these events tell of."""
        used = np.zeros(len(self._trace.texts), dtype=bool)
        used[self._trace.codes[events]] = True
        at = np.flatnonzero(used)
        self._first_of_trace = np.full(len(used), -1, np.int32)
        self._first_of_trace[at] = first_rows(self._trace.texts.take(pa.array(at)), self._ids["trace_id"])

    def search(self, events: Rows) -> tuple[Rows, Kinds]:
        """As `read`, of what was odd: -1 where not even the trace was captured."""
        trace_code, span_code = self._trace.codes[events], self._span.codes[events]
        trace = self._first_of_trace[trace_code]
        row = self._checked(self._first_of_span[span_code], trace, trace_code, span_code)
        return np.where(row >= 0, row, trace), self._found(events, row)

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

    def _found(self, events: Rows, row: Rows) -> Kinds:
        found = np.where(row >= 0, np.where(self._fits(events, row), self.THREAD, self.STALE), self.TRACE)
        found += np.where(self._join.codes[events] == self._thread, 0, self.SOCKET - self.THREAD)
        return found.astype(np.int8)

    def _fits(self, events: Rows, row: Rows) -> Bools:
        """Whether the span was open in some moment between an event's beginning and end."""
        time, took = self._time[events], self._duration[events]
        last = np.where(self._spans.unfinished[row], np.iinfo(np.int64).max - SLACK_NS, self._spans.end[row])
        found: Bools = (time >= self._spans.start[row] - SLACK_NS) & (time - np.maximum(took, 0) <= last + SLACK_NS)
        return found

    def time(self, events: Rows) -> Rows:
        """When they ended."""
        return self._time[events]

    def traces(self, events: Rows) -> Codes:
        """A number for the trace that each event's record names."""
        found: Codes = self._trace.codes[events]
        return found

    def untold(self, part: slice) -> Bools:
        """Events whose record names no trace."""
        found: Bools = self._trace.codes[part] == self._none
        return found

    def silent(self, part: slice) -> Bools | None:
        """Events whose thread's record said that no span was active; None where no record ever said so."""
        return self._miss.codes[part] == self._null if self._null >= 0 else None

    def empty(self, events: Rows) -> Bools:
        """Events, of those that no record tells, whose thread's or socket's record was read and names no span."""
        of_socket = self._join.codes[events] == self._join.code("socket")
        found: Bools = of_socket | (self._miss.codes[events] == self._null)
        return found


class _Texts:
    """A column of repeating texts: codes and the distinct ones."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        values = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
        self.codes, self.texts = np.asarray(values.indices), values.dictionary

    def code(self, text: str) -> int:
        """Its code, or one that no row has."""
        found: int = self.texts.index(text).as_py()
        return found if found >= 0 else -2
