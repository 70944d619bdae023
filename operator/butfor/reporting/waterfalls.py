"""A failing trace beside a healthy one of the same route, as bars. Names and times only, never attributes.

The same call again and again becomes one row with many bars: thirty queries in a row are one finding, not thirty.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import groupby

import pyarrow.compute as pc

from butfor.evidence.graphs import Slice
from butfor.evidence.telemetry import EVIDENCE
from butfor.evidence.timelines import RequestSeen, Timelines
from butfor.reporting.lanes import Lane, lane

MAX_SPANS = 40
MAX_READ = 4_000
REPEATED = 3
"""Equal neighbours from which on they share a row."""


COLUMNS = ("trace_id", "span_id", "parent_span_id", "name", "service", "start_ns", "end_ns", "status", "depth")


@dataclass(frozen=True)
class Bar:
    """A span, or `times` equal ones in a row: `rects` are left and width in thousandths of the trace.

    `milliseconds` is the sum. `ended` is False where it never finished.
    """

    name: str
    service: str
    depth: int
    rects: list[tuple[float, float]]
    milliseconds: float
    error: bool
    ended: bool
    on_slice: bool
    times: int = 1
    exceptions: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Waterfall:
    """One trace."""

    title: str
    failed: bool
    milliseconds: float
    bars: list[Bar]
    left_out: int
    kernel: Lane = field(default_factory=lambda: Lane([], 0))


def waterfalls(timelines: Timelines, cut: Slice) -> list[Waterfall]:
    """Return the first failing trace and a usual healthy one, of the same route where there is one."""
    failing = [timelines.requests[index] for index in timelines.failing[:1]]
    healthy = [timelines.requests[index] for index in timelines.healthy]
    if failing:
        healthy = _nearest(failing[0], healthy)
    on_slice = {part for path in cut.paths for name in path for part in name.split(":")[1:]}
    return [_waterfall(timelines, one, on_slice) for one in failing + healthy[:1]]


def _nearest(failing: RequestSeen, healthy: list[RequestSeen]) -> list[RequestSeen]:
    """Those that asked for most nearly the same, the one of middling duration first: a first request warms up."""
    best = min(((one.route != failing.route, one.method != failing.method) for one in healthy), default=None)
    alike = [one for one in healthy if (one.route != failing.route, one.method != failing.method) == best]
    middle = statistics.median_low(one.duration_s for one in alike) if alike else 0.0
    return sorted(alike, key=lambda one: abs(one.duration_s - middle))


def _waterfall(timelines: Timelines, request: RequestSeen, on_slice: set[str]) -> Waterfall:
    trace = request.span.partition("/")[0]
    spans = timelines.spans.filter(pc.equal(timelines.spans["trace_id"], trace))
    rows = spans.select([name for name in COLUMNS if name in spans.column_names]).slice(0, MAX_READ).to_pylist()
    start = min((row["start_ns"] for row in rows), default=0)
    end = max([row["end_ns"] or row["start_ns"] for row in rows], default=start)
    scale = max(end - start, 1)
    told = [row for row in rows if row["name"] == EVIDENCE]
    seen = _exceptions(
        timelines, trace, {f"{trace}/{row['span_id']}": f"{trace}/{row['parent_span_id']}" for row in told}
    )
    rows = [row for row in rows if row["name"] != EVIDENCE]
    bars = list(_folded([_bar(row, start, scale, seen, on_slice) for row in rows]))
    ended = request.ended or request.status or "no status"
    title = f"{request.method} {request.route}: {ended}"
    services = {f"{row['trace_id']}/{row['span_id']}": str(row["service"]) for row in rows}
    kernel = lane(timelines, services, start, scale)
    return Waterfall(
        title, request.failed, scale / 1e6, bars[:MAX_SPANS], _left_out(bars, spans.num_rows - len(told)), kernel
    )


def _left_out(bars: list[Bar], spans: int) -> int:
    return spans - sum(bar.times for bar in bars[:MAX_SPANS])


def _folded(bars: list[Bar]) -> Iterator[Bar]:
    for _, equal in groupby(bars, lambda bar: (bar.name, bar.service, bar.depth, bar.error, bar.ended, bar.exceptions)):
        same = list(equal)
        if len(same) <= REPEATED:
            yield from same
            continue
        yield replace(
            same[0], rects=[rect for bar in same for rect in bar.rects], times=len(same),
            milliseconds=sum(bar.milliseconds for bar in same), on_slice=any(bar.on_slice for bar in same),
        )  # fmt: skip


def _exceptions(timelines: Timelines, trace: str, whose: dict[str, str]) -> dict[str, list[str]]:
    """Per span; `whose`: the span that another one, which is not drawn, tells of."""
    found: dict[str, list[str]] = {}
    for request in timelines.requests:
        for one in request.exceptions if request.span.startswith(trace) else ():
            place = f" at {one.frames[-1].file}:{one.frames[-1].line}" if one.frames else ""
            text = f"{one.types[0] if one.types else 'exception'}{place}"
            told = found.setdefault(whose.get(one.span, one.span), [])
            if text not in told:
                told.append(text)
    return found


def _bar(row: dict[str, object], start: int, scale: int, seen: dict[str, list[str]], on_slice: set[str]) -> Bar:
    identity, began, ended = f"{row['trace_id']}/{row['span_id']}", row["start_ns"], row["end_ns"]
    assert isinstance(began, int)
    length = max(ended - began, 0) if isinstance(ended, int) else max(start + scale - began, 0)
    depth = row.get("depth")
    return Bar(
        name=str(row["name"]), service=str(row["service"]), depth=min(depth if isinstance(depth, int) else 0, 8),
        rects=[(round((began - start) * 1000 / scale, 1), max(round(length * 1000 / scale, 1), 3.0))],
        milliseconds=length / 1e6, error=row["status"] == "ERROR", ended=ended is not None,
        on_slice=identity in on_slice, exceptions=seen.get(identity, [])[:5],
    )  # fmt: skip
