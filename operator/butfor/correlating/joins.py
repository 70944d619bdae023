"""Kernel events to spans: exact where the kernel read the thread's record, else by what is known, with a confidence.

In order: the record of the thread (checked: its span was captured and was open); the record last stored for the
socket; the spans of the thread at that moment; the client span of the connection; the requests that were open in the
process, with equal shares. Everything is whole columns; nothing is done per event.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from butfor.correlating.homes import Homes, homes
from butfor.correlating.intervals import Starts, members, pieces
from butfor.correlating.orders import Ordered, Rows
from butfor.evidence.kernels import JOIN_SOURCES, JOINED, JoinSummary
from butfor.evidence.telemetry import Telemetry
from butfor.evidence.timelines import Finding, FindingKind

SLACK_NS = 10_000_000
"""How far outside its span a moment may lie and still be its thread's: clocks differ, and ends are taken early."""
MOST_CANDIDATES = 8
"""One of more than these says nothing."""
EXACT, TRACE_ONLY, SOCKET, SOCKET_LATE, STALE, TIMELINE, CONNECTION, WINDOW = 1.0, 0.9, 0.9, 0.5, 0.5, 0.9, 0.8, 0.8
"""Confidences; those of timeline, connection and window are shared by the candidates."""
_MAX_EXAMPLES = 20
_THREAD, _SOCKET, _TIMELINE, _CONNECTION, _WINDOW = range(len(JOIN_SOURCES))

Bools = npt.NDArray[np.bool_]


@dataclass
class Joined:
    """`table` has the columns of JOINED."""

    table: pa.Table
    summary: JoinSummary
    findings: list[Finding] = field(default_factory=list)


def join(telemetry: Telemetry, spans: Ordered, segments: pa.Table, thread: pa.Array) -> Joined:
    """Join every kernel event of the telemetry that can be joined. `thread`: per span, as `segments.threads` has it."""
    if not telemetry.kernel.num_rows or not spans.table.num_rows:
        return Joined(JOINED.empty_table(), JoinSummary(unattributed=telemetry.kernel.num_rows))
    return _Join(telemetry, spans, segments, thread).joined()


class _Join:
    """The events' columns, and for each event the span found so far (`row`, -1), how, and how sure."""

    def __init__(self, telemetry: Telemetry, spans: Ordered, segments: pa.Table, thread: pa.Array) -> None:
        self.events = telemetry.kernel.combine_chunks()
        self.spans, self.segments = spans, segments
        count = self.events.num_rows
        self.time = np.asarray(self.events["time_ns"], dtype=np.int64)
        self.row = np.full(count, -1, np.int64)
        self.source = np.zeros(count, np.int8)
        self.confidence = np.zeros(count, np.float32)
        self.findings: list[Finding] = []
        self.more: list[tuple[Rows, Rows, int, npt.NDArray[np.float32]]] = []
        self.homes: Homes = homes(spans, thread, telemetry.processes)

    def joined(self) -> Joined:
        """All steps, best first."""
        self._by_record()
        exact = self.confidence == EXACT
        self.home = self.homes.of_events(self.events, self.row, exact)
        self.thread = self.homes.threads_of_events(self.events, self.row, exact, self.home)
        # a thread that is known to keep a record, and whose record said that no span was active, was in none
        silent = self._is("miss", "null") & (self.thread >= 0)
        # and what belongs to a trace that was not captured belongs to none that was
        left = (self.row < 0) & ~silent & self._is("trace_id", "")
        left = self._by_timeline(left)
        left = self._by_connection(left)
        open_requests = self._by_window(left)
        return self._finished(exact, outside=silent | ((open_requests == 0) & (self.home >= 0)))

    def _is(self, column: str, text: str) -> Bools:
        values = self.events[column].combine_chunks()
        code = values.dictionary.index(text).as_py() if len(values) else -1
        found: Bools = np.asarray(values.indices) == code
        return found if code >= 0 else np.zeros(len(found), dtype=bool)

    def _by_record(self) -> None:
        """What the kernel read itself: ids of a span, checked against the spans that were captured."""
        thread, socket = self._is("join", "thread"), self._is("join", "socket")
        found, trace = self._rows_of_ids(thread | socket)
        known = found >= 0
        slack = np.where(known, found, 0)
        began = self.time - np.maximum(np.asarray(self.events["duration_ns"], dtype=np.int64), 0)
        fits = (self.time >= self.spans.start[slack] - SLACK_NS) & (began <= self._last(slack) + SLACK_NS)
        self._take(known & thread & fits, found, _THREAD, EXACT)
        self._take(known & thread & ~fits, found, _THREAD, STALE)
        self._take(known & socket & fits, found, _SOCKET, SOCKET)
        self._take(known & socket & ~fits, found, _SOCKET, SOCKET_LATE)
        lost = ~known & (trace >= 0)
        self._take(lost & thread, trace, _THREAD, TRACE_ONLY)
        self._take(lost & socket, trace, _SOCKET, SOCKET_LATE)
        self._find("stale_context", known & thread & ~fits, "the thread's record names a span that was not open then")
        self._find("unknown_span", (thread | socket) & ~known, "the record names a span that was not captured")

    def _last(self, rows: Rows) -> Rows:
        """When each span ended; one without end may still be open."""
        return np.where(self.spans.unfinished[rows], np.iinfo(np.int64).max - SLACK_NS, self.spans.end[rows])

    def _rows_of_ids(self, asked: Bools) -> tuple[Rows, Rows]:
        """Per event the row of its span, and the first row of its trace; -1 where there is none."""
        span_of, trace_of = _Ids(self.events["span_id"]), _Ids(self.events["trace_id"])
        table = self.spans.table
        traces = table["trace_id"].combine_chunks()
        trace = trace_of.rows(traces, asked)
        found = span_of.rows(table["span_id"].combine_chunks(), asked)
        codes = self.spans.trace
        both = (found >= 0) & (trace >= 0)
        same = both & (codes[np.where(both, found, 0)] == codes[np.where(both, trace, 0)])
        again = np.flatnonzero(asked & ~same & (trace >= 0) & (found >= 0))
        if len(again):  # the same span id in several traces: looked up as a pair
            ids = pc.binary_join_element_wise(
                self.events["trace_id"].take(pa.array(again)).cast(pa.string()),
                self.events["span_id"].take(pa.array(again)).cast(pa.string()), "/",
            )  # fmt: skip
            found[again] = np.asarray(pc.fill_null(pc.index_in(ids, value_set=self.spans.ids), -1))
            same[again] = found[again] >= 0
        return np.where(same, found, -1), trace

    def _take(self, which: Bools, rows: Rows, source: int, confidence: float) -> None:
        self.row[which], self.source[which], self.confidence[which] = rows[which], source, confidence

    def _find(self, kind: FindingKind, which: Bools, detail: str) -> None:
        events = np.flatnonzero(which)
        if len(events):
            examples = [f"kernel:{event}" for event in events[:_MAX_EXAMPLES].tolist()]
            self.findings.append(Finding(kind=kind, evidence=examples, detail=f"{len(events)} events: {detail}"))

    def _by_timeline(self, left: Bools) -> Bools:
        """The innermost span of the thread at that moment; less sure where several requests were open on it."""
        asked = np.flatnonzero(left & (self.thread >= 0))
        if not len(asked):
            return left
        row, start, end, group = self.homes.segments(self.segments)
        if not len(row):
            return left
        at = Starts(group, start).last(self.thread[asked], self.time[asked])
        held = (at >= 0) & (self.time[asked] < end[np.where(at >= 0, at, 0)])
        events, at = asked[held], at[held]
        self.row[events], self.source[events] = row[at], _TIMELINE
        self.confidence[events] = TIMELINE / self._crowd(group, start)[at]
        return left & (self.row < 0)

    def _crowd(self, group: Rows, start: Rows) -> Rows:
        """How many requests were open on its thread when each segment began."""
        roots = np.flatnonzero(self.homes.local_root & self.homes.threaded & (self.spans.end > self.spans.start))
        found = pieces(self.homes.thread[roots], self.spans.start[roots], self.spans.end[roots])
        at = found.at(group, start)
        return np.maximum(np.where(at >= 0, found.count[np.where(at >= 0, at, 0)], 1), 1)

    def _by_connection(self, left: Bools) -> Bools:
        """Client spans of the same process to the same peer."""
        if not left.any():
            return left
        interval, group, of_event = self.homes.connections(self.events, self.home)
        asked = np.flatnonzero(left & (of_event >= 0))
        if len(asked) and len(interval):
            self._share(asked, of_event[asked], interval, group, _CONNECTION, CONNECTION)
        return left & (self.row < 0)

    def _by_window(self, left: Bools) -> Rows:
        """Requests that were open in the process. How many there were, for every event that was left (else -1)."""
        roots = np.flatnonzero(self.homes.local_root & (self.spans.end > self.spans.start) & (self.homes.home >= 0))
        count = np.full(len(self.row), -1, np.int64)
        asked = np.flatnonzero(left & (self.home >= 0))
        count[asked] = self._share(asked, self.home[asked], roots, self.homes.home[roots], _WINDOW, WINDOW)
        return count

    def _share(self, asked: Rows, group_of: Rows, rows: Rows, group: Rows, source: int, confidence: float) -> Rows:
        """Each event's candidates among the spans `rows`, with equal shares; how many were open."""
        start, end = self.spans.start[rows], self.spans.end[rows]
        found = pieces(group, start, end)
        piece = found.at(group_of, self.time[asked])
        known = np.flatnonzero(piece >= 0)
        count = np.zeros(len(asked), np.int64)
        count[known] = found.count[piece[known]]
        at, interval = members(piece[known], found, group, start, end, MOST_CANDIDATES)
        events, shares = asked[known[at]], (confidence / count[known[at]]).astype(np.float32)
        single = count[known[at]] == 1
        self.row[events[single]], self.source[events[single]] = rows[interval[single]], source
        self.confidence[events[single]] = confidence
        several = ~single
        self.row[events[several]] = -2  # candidates, not one span
        self.more.append((events[several], rows[interval[several]], source, shares[several]))
        return count

    def _finished(self, exact: Bools, outside: Bools) -> Joined:
        events = np.flatnonzero(self.row >= 0)
        parts = [(events, self.row[events], self.source[events], self.confidence[events])]
        parts += [(event, row, np.full(len(event), source, np.int8), share) for event, row, source, share in self.more]
        event, row, source, share = (np.concatenate(list(column)) for column in zip(*parts, strict=True))
        if len(event) > len(events):
            by = np.argsort(event, kind="stable")  # each part is in order already
            event, row, source, share = event[by], row[by], source[by], share[by]
        inferred = int((self.row != -1).sum() - exact.sum())
        nowhere = int((outside & (self.row == -1)).sum())
        rest = len(self.row) - int(exact.sum()) - inferred - nowhere
        summary = JoinSummary(exact=int(exact.sum()), inferred=inferred, unattributed=rest, outside=nowhere)
        return Joined(_table(event, row, source, share, self.spans.ids), summary, self.findings)


class _Ids:
    """A column of ids, encoded: each distinct one is looked up once."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        values = column.combine_chunks()
        self._codes, self._texts = np.asarray(values.indices, dtype=np.int64), values.dictionary

    def rows(self, known: pa.Array, asked: Bools) -> Rows:
        """Per event the first row of `known` with its id, -1 where there is none or it is not asked for."""
        found = np.asarray(pc.fill_null(pc.index_in(self._texts, value_set=known), -1), dtype=np.int64)
        if not len(found):
            return np.full(len(self._codes), -1, np.int64)
        return np.where(asked, found[self._codes], -1)


def _table(event: Rows, row: Rows, source: Rows, confidence: Rows, ids: pa.Array) -> pa.Table:
    span = pa.DictionaryArray.from_arrays(pa.array(row.astype(np.int32)), ids.cast(pa.string()))
    how = pa.DictionaryArray.from_arrays(pa.array(source.astype(np.int32)), pa.array(JOIN_SOURCES, pa.string()))
    return pa.table([pa.array(event), span, how, pa.array(confidence, pa.float32())], schema=JOINED)
