"""Kernel events to spans: exact where the kernel read the thread's record, else by what is known, with a confidence.

In order: the record of the thread (checked: its span was captured and was open); the record last stored for the
socket; the spans of the thread at that moment; the client span of the connection; the requests that were open in the
process, with equal shares. Everything is whole columns, a part of the events at a time; nothing is done per event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from butfor.correlating.homes import Homes, homes
from butfor.correlating.lookups import Numbers
from butfor.correlating.moments import Moments, Threads
from butfor.correlating.notes import between, noted
from butfor.correlating.orders import Ordered, Rows
from butfor.correlating.records import Records
from butfor.correlating.strays import at_home
from butfor.evidence.kernels import JOIN_SOURCES, JOINED, JoinSummary
from butfor.evidence.telemetry import Telemetry
from butfor.evidence.timelines import Finding

EXACT = 1.0
_CONFIDENCES = np.array([0, EXACT, 0.5, 0.9, 0.9, 0.5, 0.5], np.float32)
_SOURCES = np.array([0, 0, 0, 0, 1, 1, 1], np.int32)
"""By what the record was found to be (`Records`); those of `Moments` are shared by the candidates."""
_TIMELINE = 2
PART = 1 << 17
"""Events handled at once: what is in between stays in the processor's cache."""
WORKERS = 2

Several = tuple[Rows, Rows, npt.NDArray[np.int8], Rows]
S = TypeVar("S")
T = TypeVar("T")


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
    return _Join(telemetry, spans, segments, homes(spans, thread, telemetry.processes)).joined()


class _Join:
    """For each event the span found so far (`row`, -1: none, -2: several candidates), how, and how sure."""

    def __init__(self, telemetry: Telemetry, spans: Ordered, segments: pa.Table, known: Homes) -> None:
        self.events, self.spans, self.homes, self.segments = telemetry.kernel, spans, known, segments
        self.records = Records(self.events, spans)
        self._strays: list[Rows] = []
        columns = (np.asarray(self.events[name], dtype=np.int64) for name in ("time_ns", "pid", "tid"))
        self.time, self.pid, self.tid = columns
        count = self.events.num_rows
        self.event = np.empty(count, np.int64)
        self.row = np.empty(count, np.int32)
        self.source = np.empty(count, np.int32)
        self.confidence = np.empty(count, np.float32)
        self.outside = np.empty(count, dtype=bool)

    def joined(self) -> Joined:
        """What the kernel read first: it also tells whose the processes and threads are."""
        told = self._parts(self._told, _slices(len(self.row)))
        self.records.look_up()
        odd, stale = _together(self._parts(self._by_record, told))
        unknown = odd
        if len(odd):
            self.records.look_up_traces(odd)
            more, unknown = _together(self._parts(self._by_trace, (odd[part] for part in _slices(len(odd)))))
            stale = np.sort(np.concatenate((stale, more)))
        other = unknown[self.row[unknown] < 0]
        apart = between(self.spans, self.time, other, self.records.traces(other))
        self.outside[apart] = True
        findings = list(noted(self.spans, self.time, stale, unknown, apart))
        told = self._parts(lambda events: events[self.confidence[events] == EXACT], told)
        exact = np.concatenate(told)
        if len(odd):
            self._at_home(np.concatenate(self._strays), exact)
        self.tids, thread = self._threads(told)
        threads = Threads(self.events, self.spans, self.homes, self.segments, thread)
        left = np.concatenate(self._parts(lambda part: self._on_thread(part, threads), _slices(len(self.row))))
        left = self._believed(left, exact)
        return self._finished(len(exact), self._by_moment(left, exact) if len(left) else [], findings)

    def _parts(self, work: Callable[[S], T], parts: Iterable[S]) -> list[T]:
        """Do it for each part, in their order; numpy lets other threads run meanwhile."""
        several = list(parts)
        if len(several) < 2:
            return [work(part) for part in several]
        with ThreadPoolExecutor(WORKERS) as pool:
            return list(pool.map(work, several))

    def _told(self, part: slice) -> Rows:
        """Begin with nothing known of the part; returns its events that have a record."""
        self.event[part] = np.arange(part.start, part.stop)
        self.row[part] = -1
        self.source[part] = 0
        self.confidence[part] = 0
        self.outside[part] = False
        return self.records.told(part)

    def _by_record(self, told: Rows) -> tuple[Rows, Rows]:
        """Returns the events whose record is not simply that of a captured span, and those whose span was not open."""
        row, found, odd = self.records.read(told)
        self._set(told, row, found)
        return odd, told[found == Records.STALE]

    def _by_trace(self, odd: Rows) -> tuple[Rows, Rows]:
        """Returns the events whose span was not open, and those whose span was not captured."""
        row, found = self.records.search(odd)
        self._set(odd, row, found)
        unknown = (row < 0) | (found == Records.TRACE) | (found == Records.SOCKET_TRACE)
        self._strays.append(odd[(row >= 0) & unknown])
        return odd[found == Records.STALE], odd[unknown]

    def _at_home(self, unknown: Rows, exact: Rows) -> None:
        """Events whose span was not captured: by what their own process did for the trace."""
        if not len(unknown):
            return
        pids, home = self._processes(unknown, exact)
        home, time = home[pids.of(self.pid[unknown])], self.records.time(unknown)
        self.row[unknown] = at_home(self.spans, self.homes, self.row[unknown], home, time)

    def _set(self, events: Rows, row: Rows, found: npt.NDArray[np.int8]) -> None:
        self.row[events], self.source[events] = row, _SOURCES[found]
        self.confidence[events] = np.where(row >= 0, _CONFIDENCES[found], 0)

    def _threads(self, exact: list[Rows]) -> tuple[Numbers, Rows]:
        """Numbers of tids, and per number its thread: as all its exact events say, else -1."""
        numbers = Numbers(self.tid)
        thread, several = np.full(numbers.size, -1, np.int64), np.zeros(numbers.size, dtype=bool)
        for say in (_name, partial(_differ, several)):
            self._parts(partial(self._say, say, numbers, thread), exact)
        return numbers, np.where(several, -1, thread)

    def _say(self, say: Callable[[Rows, Rows, Rows], None], numbers: Numbers, thread: Rows, events: Rows) -> None:
        """To `say`: what is known of each number, and what these events tell of which."""
        row = self.row[events]
        named = self.homes.threaded[row]
        if not named.all():
            events, row = events[named], row[named]
        say(thread, numbers.of(self.tid[events]), self.homes.thread[row])

    def _on_thread(self, part: slice, threads: Threads) -> Rows:
        """For what no record tells; returns the events that are of no known thread, or when it was in no span."""
        # what belongs to a trace that was not captured belongs to none that was
        left = (self.row[part] < 0) & self.records.untold(part)
        if not left.any():
            return np.empty(0, np.int64)
        tid = self.tids.of(self.tid[part])
        if (silent := self.records.silent(part)) is not None:
            # a thread that is known to keep a record, and whose record said that no span was active, was in none
            away = left & silent & threads.known(tid)
            self.outside[part] |= away
            left &= ~away
        row, share = threads.find(part, tid)
        held = left & (row >= 0)
        for column, value in ((self.row, row), (self.source, _TIMELINE), (self.confidence, share)):
            np.copyto(column[part], value, where=held, casting="same_kind")
        rest: Rows = np.flatnonzero(left & ~held) + part.start
        return rest

    def _believed(self, left: Rows, exact: Rows) -> Rows:
        """Without those whose record told of no span, in processes whose records told of spans at other times."""
        silent = np.flatnonzero(self.records.empty(left))
        if not len(silent) or not len(exact):
            return left
        pids = Numbers(self.pid[exact])
        keeps = np.bincount(pids.of(self.pid[exact]), minlength=pids.size) > 0
        silent = silent[keeps[pids.of(self.pid[left[silent]])]]
        self.outside[left[silent]] = True
        return np.delete(left, silent)

    def _by_moment(self, left: Rows, exact: Rows) -> list[Several]:
        """By connection and process; returns events with several candidates: event, row, source and how many."""
        pids, home = self._processes(left, exact)
        moments = Moments(self.events, self.spans, self.homes, home)
        return self._parts(
            lambda events: self._candidates(events, pids, moments), (left[part] for part in _slices(len(left)))
        )

    def _candidates(self, events: Rows, pids: Numbers, moments: Moments) -> Several:
        found = moments.find(events, pids.of(self.pid[events]))
        self.row[events], self.source[events], self.confidence[events] = found.row, found.source, found.confidence
        self.outside[events] = found.outside
        event, row, source, count = found.several
        return events[event], row, source, count

    def _processes(self, left: Rows, exact: Rows) -> tuple[Numbers, Rows]:
        """Numbers of the pids of what is left, and per number its home."""
        told = Numbers(self.pid[exact])
        home = _commonest(told.of(self.pid[exact]), self.homes.home[self.row[exact]], told.size)
        known = np.flatnonzero(home >= 0)
        learned = dict(zip(told.values(known), home[known].tolist(), strict=True))
        pids = Numbers(self.pid[left])
        seen = np.flatnonzero(np.bincount(pids.of(self.pid[left]), minlength=pids.size))
        found = np.full(pids.size, -1, np.int64)
        found[seen] = self.homes.of_pids(pids.values(seen), learned)
        return pids, found

    def _finished(self, exact: int, several: list[Several], findings: list[Finding]) -> Joined:
        inferred = int(np.count_nonzero(self.row != -1)) - exact
        outside = int(np.count_nonzero(self.outside))
        columns = self.event, self.row, self.source, self.confidence
        event, row, source, share = columns if (self.row >= 0).all() else (one[self.row >= 0] for one in columns)
        if any(len(one[0]) for one in several):
            more, rows, how, count = (np.concatenate(list(column)) for column in zip(*several, strict=True))
            event, row = np.concatenate((event, more)), np.concatenate((row, rows), dtype=np.int32)
            source = np.concatenate((source, how), dtype=np.int32)
            share = np.concatenate((share, (Moments.CONFIDENCES[how] / count).astype(np.float32)))
            by = np.argsort(event, kind="stable")  # each part is in order already
            event, row, source, share = event[by], row[by], source[by], share[by]
        rest = len(self.row) - exact - inferred - outside
        summary = JoinSummary(exact=exact, inferred=inferred, unattributed=rest, outside=outside)
        return Joined(_table(event, row, source, share, self.spans.ids), summary, findings)


def _name(thread: Rows, tid: Rows, told: Rows) -> None:
    thread[tid] = told


def _differ(several: npt.NDArray[np.bool_], thread: Rows, tid: Rows, told: Rows) -> None:
    several[tid[thread[tid] != told]] = True


def _slices(count: int) -> Iterator[slice]:
    for start in range(0, count, PART):
        yield slice(start, min(start + PART, count))


def _together(parts: list[tuple[Rows, Rows]]) -> tuple[Rows, Rows]:
    first, second = zip(*parts, strict=True)
    return np.concatenate(first), np.concatenate(second)


def _commonest(code: Rows, value: Rows, size: int) -> Rows:
    """Per code its most frequent value, -1 left out; -1 where there is none."""
    found = np.full(size, -1, np.int64)
    kept = value >= 0
    if not kept.any():
        return found
    width = int(value.max()) + 1
    counted = pa.array(code[kept].astype(np.int64) * width + value[kept]).value_counts()
    pair, count = np.asarray(counted.field(0)), np.asarray(counted.field(1))
    by = np.lexsort((-pair, count))  # of equal counts the lower value comes last and stays
    found[pair[by] // width] = pair[by] % width
    return found


def _table(
    event: Rows,
    row: npt.NDArray[np.int32],
    source: npt.NDArray[np.int32],
    share: npt.NDArray[np.float32],
    ids: pa.Array,
) -> pa.Table:
    span = pa.DictionaryArray.from_arrays(pa.array(row), ids.cast(pa.string()))
    how = pa.DictionaryArray.from_arrays(pa.array(source), pa.array(JOIN_SOURCES, pa.string()))
    return pa.table([pa.array(event), span, how, pa.array(share)], schema=JOINED)
