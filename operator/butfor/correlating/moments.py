"""Where no record tells an event's span: what was open at its moment, on its thread, connection or in its process."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from butfor.correlating.homes import Homes
from butfor.correlating.intervals import Pieces, Starts, members, pieces
from butfor.correlating.orders import Ordered, Rows

MOST_CANDIDATES = 8
"""One of more than these says nothing."""
_TIMELINE, _CONNECTION, _WINDOW = 2, 3, 4

Bools = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int32]


@dataclass
class Found:
    """Per event asked for: row (-1: none, -2: see `several`), source, confidence, and whether nothing was open.

    `several` has, by event, candidates: index of the event, row, source, how many there are.
    """

    row: Rows
    source: npt.NDArray[np.int8]
    confidence: npt.NDArray[np.float32]
    outside: Bools
    several: tuple[Rows, Rows, npt.NDArray[np.int8], Rows]


@dataclass(frozen=True)
class _Intervals:
    """Spans by a group, cut into pieces of time."""

    rows: Rows
    group: Rows
    pieces: Pieces

    @classmethod
    def of(cls, spans: Ordered, rows: Rows, group: Rows) -> _Intervals:
        """Of these rows of the spans."""
        return cls(rows, group, pieces(group, spans.start[rows], spans.end[rows]))


class Moments:
    """Everything that moments are looked up in. `home` and `thread` are per distinct pid and tid, -1: not known."""

    CONFIDENCES = np.array([0, 0, 0.9, 0.8, 0.8], np.float32)
    """By source; candidates share them."""

    def __init__(
        self, events: pa.Table, spans: Ordered, homes: Homes, segments: pa.Table, home: Rows, thread: Rows
    ) -> None:
        self._spans, self._home = spans, home
        self._time = np.asarray(events["time_ns"], dtype=np.int64)
        self._segment_row, start, self._segment_end, group, of_thread = homes.segments(segments)
        self._starts = Starts(group, start)
        self._thread = np.where(thread >= 0, of_thread[thread], -1)
        self._crowd = _crowd(spans, homes, group, start, of_thread)
        roots = np.flatnonzero(homes.local_root & (spans.end > spans.start))
        self._roots = _Intervals.of(spans, roots, homes.home[roots])
        remote = events["remote"].combine_chunks()
        rows, peers, self._pairs, self._peer, self._width = homes.connections(remote)
        self._remote = np.asarray(remote.indices)
        self._clients = _Intervals.of(spans, rows, peers)

    def find(self, events: Rows, pid: Codes, tid: Codes, silent: Bools) -> Found:
        """The spans of `events`; `silent`: the thread's record said that it was in none."""
        home, thread = self._home[pid], self._thread[tid]
        count = len(events)
        found = Found(np.full(count, -1, np.int64), np.zeros(count, np.int8), np.zeros(count, np.float32),
                      np.zeros(count, dtype=bool), _nothing())  # fmt: skip
        # a thread that is known to keep a record, and whose record said that no span was active, was in none
        found.outside = silent & (thread >= 0)
        left = np.flatnonzero(~found.outside)
        left = left[~self._on_thread(found, left, thread[left], self._time[events[left]])]
        parts = [_nothing()]
        if len(left) and len(self._clients.rows):
            of = self._connection(events[left], home[left])
            _, more = self._shared(found, left, of, self._time[events[left]], self._clients, _CONNECTION)
            parts.append(more)
            left = left[found.row[left] == -1]
        if len(left):
            open_here, more = self._shared(found, left, home[left], self._time[events[left]], self._roots, _WINDOW)
            parts.append(more)
            found.outside[left] = (open_here == 0) & (home[left] >= 0)
        event, row, source, many = (np.concatenate(list(column)) for column in zip(*parts, strict=True))
        by = np.argsort(event, kind="stable")
        found.several = event[by], row[by], source[by], many[by]
        return found

    def _on_thread(self, found: Found, at: Rows, thread: Rows, time: Rows) -> Bools:
        """The innermost span of the thread; less sure where several requests were open on it."""
        segment = self._starts.last(thread, time)
        known = segment >= 0
        safe = np.where(known, segment, 0)
        held = known & (time < self._segment_end[safe]) if len(self._segment_end) else known
        events, segments = at[held], segment[held]
        found.row[events], found.source[events] = self._segment_row[segments], _TIMELINE
        share = self.CONFIDENCES[_TIMELINE]
        found.confidence[events] = share if self._crowd is None else share / self._crowd[segments]
        return held

    def _connection(self, events: Rows, home: Rows) -> Rows:
        """The group of each event's process and peer among the clients', -1 where there is none."""
        peer = self._peer[self._remote[events]]
        number = home * self._width + peer
        at = np.minimum(np.searchsorted(self._pairs, number), len(self._pairs) - 1)
        return np.where((peer >= 0) & (home >= 0) & (self._pairs[at] == number), at, -1)

    def _shared(
        self, found: Found, at: Rows, group: Rows, time: Rows, among: _Intervals, source: int
    ) -> tuple[Rows, tuple[Rows, Rows, npt.NDArray[np.int8], Rows]]:
        """Each event's candidates, with equal shares. How many were open, and those of which there are several."""
        piece = among.pieces.at(group, time)
        known = np.flatnonzero(piece >= 0)
        count = np.zeros(len(at), np.int64)
        count[known] = among.pieces.count[piece[known]]
        start, end = self._spans.start[among.rows], self._spans.end[among.rows]
        of, interval = members(piece[known], among.pieces, among.group, start, end, MOST_CANDIDATES)
        index, many = known[of], count[known[of]]
        one = many == 1
        found.row[at[index[one]]] = among.rows[interval[one]]
        found.row[at[index[~one]]] = -2
        found.source[at[index]] = source
        found.confidence[at[index[one]]] = self.CONFIDENCES[source]
        rest = interval[~one]
        return count, (at[index[~one]], among.rows[rest], np.full(len(rest), source, np.int8), many[~one])


def _nothing() -> tuple[Rows, Rows, npt.NDArray[np.int8], Rows]:
    none = np.empty(0, np.int64)
    return none, none, np.empty(0, np.int8), none


def _crowd(spans: Ordered, homes: Homes, group: Rows, start: Rows, of_thread: Rows) -> Rows | None:
    """How many requests were open on its thread when each segment began; None where it is never more than one."""
    roots = np.flatnonzero(homes.local_root & homes.threaded & (spans.end > spans.start))
    thread = of_thread[homes.thread[roots]]
    by = np.lexsort((spans.start[roots], thread))
    roots, thread = roots[by], thread[by]
    overlap = (thread[1:] == thread[:-1]) & (spans.start[roots[1:]] < spans.end[roots[:-1]])
    if not overlap.any():  # of intervals in order, any two that overlap have neighbours that do
        return None
    found = pieces(thread, spans.start[roots], spans.end[roots])
    at = found.at(group, start)
    return np.maximum(np.where(at >= 0, found.count[np.where(at >= 0, at, 0)], 1), 1)
