"""Kernel events to spans: exact where the kernel read the thread's record, else by what is known, with a confidence.

In order: the record of the thread (checked: its span was captured and was open); the record last stored for the
socket; the spans of the thread at that moment; the client span of the connection; the requests that were open in the
process, with equal shares. Everything is whole columns, a part of the events at a time; nothing is done per event.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from butfor.correlating.homes import Homes, homes
from butfor.correlating.moments import Moments
from butfor.correlating.orders import Ordered, Rows
from butfor.correlating.records import Records, encoded
from butfor.evidence.kernels import JOIN_SOURCES, JOINED, JoinSummary
from butfor.evidence.telemetry import Telemetry
from butfor.evidence.timelines import Finding, FindingKind

EXACT = 1.0
_CONFIDENCES = np.array([0, EXACT, 0.5, 0.9, 0.9, 0.5, 0.5], np.float32)
_SOURCES = np.array([0, 0, 0, 0, 1, 1, 1], np.int8)
"""By what the record was found to be (`records.Found`); those of `moments` are shared by the candidates."""
PART = 1 << 19
"""Events handled at once: what is in between stays in the processor's cache."""
WORKERS = 2
_MAX_EXAMPLES = 20

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
        count = self.events.num_rows
        self.row = np.empty(count, np.int32)
        self.source = np.empty(count, np.int8)
        self.confidence = np.empty(count, np.float32)
        self.outside = np.zeros(count, dtype=bool)
        self.pids, self.pid = encoded(self.events["pid"])
        self.tids, self.tid = encoded(self.events["tid"])

    def joined(self) -> Joined:
        """What the kernel read first: it also tells whose the processes and threads are."""
        notes = self._parts(self._by_record)
        home, thread = self._learned()
        moments = Moments(self.events, self.spans, self.homes, self.segments, home, thread)
        several = self._parts(lambda part: self._by_moment(part, moments))
        stale = np.concatenate([one for one, _ in notes])
        unknown = np.concatenate([one for _, one in notes])
        findings = [
            *_finding("stale_context", stale, "the thread's record names a span that was not open then"),
            *_finding("unknown_span", unknown, "the record names a span that was not captured"),
        ]
        return self._finished(several, findings)

    def _parts(self, work: Callable[[slice], T]) -> list[T]:
        """Do it for each part, in their order; numpy lets other threads run meanwhile."""
        with ThreadPoolExecutor(WORKERS) as pool:
            return list(pool.map(work, _slices(len(self.row))))

    def _by_record(self, part: slice) -> tuple[Rows, Rows]:
        """Events whose record names a span that was not open, and those that name one that was not captured."""
        self.row[part] = -1
        self.source[part] = 0
        self.confidence[part] = 0
        asked, row, found = self.records.read(part)
        if not len(asked):
            return asked, asked
        at = asked + part.start
        self.row[at], self.source[at] = row, _SOURCES[found]
        self.confidence[at] = np.where(row >= 0, _CONFIDENCES[found], 0)
        return at[found == Records.STALE], at[(row < 0) | (found == Records.TRACE) | (found == Records.SOCKET_TRACE)]

    def _learned(self) -> tuple[Rows, Rows]:
        """Per distinct pid its home, per distinct tid its thread: as all its exact events say, else -1."""
        told = np.flatnonzero(self.confidence == EXACT)
        row = self.row[told]
        home = _commonest(self.pid[told], self.homes.home[row], len(self.pids))
        named = self.homes.threaded[row]
        tid, thread = self.tid[told[named]], self.homes.thread[row[named]]
        lowest, highest = np.full(len(self.tids), np.iinfo(np.int64).max), np.full(len(self.tids), -1, np.int64)
        np.minimum.at(lowest, tid, thread)
        np.maximum.at(highest, tid, thread)
        return self.homes.of_pids(self.pids, home), np.where(lowest == highest, highest, -1)

    def _by_moment(self, part: slice, moments: Moments) -> tuple[Rows, Rows, npt.NDArray[np.int8], Rows]:
        """For what no record tells; returns events with several candidates: event, row, source and how many."""
        # what belongs to a trace that was not captured belongs to none that was
        left = np.flatnonzero((self.row[part] < 0) & self.records.untold(part)) + part.start
        found = moments.find(left, self.pid[left], self.tid[left], self.records.silent(left))
        self.row[left], self.source[left], self.confidence[left] = found.row, found.source, found.confidence
        self.outside[left] = found.outside
        event, row, source, count = found.several
        return left[event], row, source, count

    def _finished(
        self, several: list[tuple[Rows, Rows, npt.NDArray[np.int8], Rows]], findings: list[Finding]
    ) -> Joined:
        exact = int(np.count_nonzero(self.confidence == EXACT))
        inferred = int(np.count_nonzero(self.row != -1)) - exact
        outside = int(np.count_nonzero(self.outside & (self.row == -1)))
        event = np.flatnonzero(self.row >= 0)
        whole = len(event) == len(self.row)
        row, source, share = (column if whole else column[event] for column in (self.row, self.source, self.confidence))
        if any(len(one[0]) for one in several):
            more, rows, how, count = (np.concatenate(list(column)) for column in zip(*several, strict=True))
            event, row = np.concatenate((event, more)), np.concatenate((row, rows))
            source = np.concatenate((source, how))
            share = np.concatenate((share, (Moments.CONFIDENCES[how] / count).astype(np.float32)))
            by = np.argsort(event, kind="stable")  # each part is in order already
            event, row, source, share = event[by], row[by], source[by], share[by]
        rest = len(self.row) - exact - inferred - outside
        summary = JoinSummary(exact=exact, inferred=inferred, unattributed=rest, outside=outside)
        return Joined(_table(event, row, source, share, self.spans.ids), summary, findings)


def _slices(count: int) -> Iterator[slice]:
    for start in range(0, count, PART):
        yield slice(start, min(start + PART, count))


def _finding(kind: FindingKind, events: Rows, detail: str) -> Iterator[Finding]:
    if len(events):
        examples = [f"kernel:{event}" for event in events[:_MAX_EXAMPLES].tolist()]
        yield Finding(kind=kind, evidence=examples, detail=f"{len(events)} events: {detail}")


def _commonest(code: npt.NDArray[np.int32], value: Rows, size: int) -> Rows:
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
    event: Rows, row: npt.NDArray[np.int32], source: npt.NDArray[np.int8], share: npt.NDArray[np.float32], ids: pa.Array
) -> pa.Table:
    span = pa.DictionaryArray.from_arrays(pa.array(row.astype(np.int32, copy=False)), ids.cast(pa.string()))
    how = pa.DictionaryArray.from_arrays(pa.array(source.astype(np.int32)), pa.array(JOIN_SOURCES, pa.string()))
    return pa.table([pa.array(event), span, how, pa.array(share)], schema=JOINED)
