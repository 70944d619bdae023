"""Where no record tells an event's span: what was open at its moment, on its thread, connection or in its process."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from butfor.correlating.homes import Homes
from butfor.correlating.intervals import Holders, Pieces, grouped, members, pieces
from butfor.correlating.orders import Ordered, Rows

MOST_CANDIDATES = 8
"""One of more than these says nothing."""
_CONNECTION, _WINDOW = 3, 4

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


class Threads:
    """The spans of each thread over time. `thread` is per number of a tid, -1: not known."""

    CONFIDENCE = np.float32(0.9)

    def __init__(self, events: pa.Table, spans: Ordered, homes: Homes, segments: pa.Table, thread: Rows) -> None:
        self._time = np.asarray(events["time_ns"], dtype=np.int64)
        row, start, end, group, of_thread = homes.segments(segments)
        self._holders = Holders(group, start, end)
        self._row = np.concatenate((np.full(1, -1), row)).astype(np.int32)
        place = np.where(thread >= 0, of_thread[thread], -1)
        self._known, self._place = place >= 0, self._holders.places(place)
        crowd = _crowd(spans, homes, group, start, of_thread)
        self._share = None if crowd is None else np.append(self.CONFIDENCE, self.CONFIDENCE / crowd).astype(np.float32)

    def known(self, tid: Rows) -> Bools:
        """Whether the thread is known."""
        return self._known[tid]

    def find(self, part: slice, tid: Rows) -> tuple[Codes, npt.NDArray[np.float32] | np.float32]:
        """Row of the thread's innermost span at each event of the part, or -1; less sure where several were open."""
        held = self._holders.find(self._place[tid], self._time[part])
        return self._row[held], self.CONFIDENCE if self._share is None else self._share[held]


class Moments:
    """Spans by connection and by process over time. `home` is per number of a pid, -1: not known."""

    CONFIDENCES = np.array([0, 0, 0.9, 0.8, 0.8], np.float32)
    """By source; candidates share them."""

    def __init__(self, events: pa.Table, spans: Ordered, homes: Homes, home: Rows) -> None:
        self._spans, self._home = spans, home
        self._time = np.asarray(events["time_ns"], dtype=np.int64)
        roots = np.flatnonzero(homes.local_root & (spans.end > spans.start))
        self._roots = _Intervals.of(spans, roots, homes.home[roots])
        remote = events["remote"].combine_chunks()
        rows, peers, self._pairs, self._peer, self._width = homes.connections(remote)
        self._remote = np.asarray(remote.indices)
        self._clients = _Intervals.of(spans, rows, peers)

    def find(self, events: Rows, pid: Rows) -> Found:
        """The spans of `events`, which neither a record nor a thread tells."""
        home, time, count = self._home[pid], self._time[events], len(events)
        found = Found(np.full(count, -1, np.int64), np.zeros(count, np.int8), np.zeros(count, np.float32),
                      np.zeros(count, dtype=bool), _nothing())  # fmt: skip
        left = np.arange(count, dtype=np.int64)
        parts = [_nothing()]
        if len(self._clients.rows):
            of = self._connection(events, home)
            _, more = self._shared(found, left, of, time, self._clients, _CONNECTION)
            parts.append(more)
            left = np.flatnonzero(found.row == -1)
        if len(left):
            open_here, more = self._shared(found, left, home[left], time[left], self._roots, _WINDOW)
            parts.append(more)
            found.outside[left] = (open_here == 0) & (home[left] >= 0)
        event, row, source, many = (np.concatenate(list(column)) for column in zip(*parts, strict=True))
        by = np.argsort(event, kind="stable")
        found.several = event[by], row[by], source[by], many[by]
        return found

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
    by = grouped(thread, spans.start[roots])
    roots, thread = roots[by], thread[by]
    overlap = (thread[1:] == thread[:-1]) & (spans.start[roots[1:]] < spans.end[roots[:-1]])
    if not overlap.any():  # of intervals in order, any two that overlap have neighbours that do
        return None
    found = pieces(thread, spans.start[roots], spans.end[roots])
    at = found.at(group, start)
    return np.maximum(np.where(at >= 0, found.count[np.where(at >= 0, at, 0)], 1), 1)
