"""The kernel's lane beneath a trace: what failed and what was waited for, when, for how long, how surely its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from butfor.evidence.happenings import Happening, happenings
from butfor.evidence.timelines import Timelines

MAX_LINES = 14
MAX_TICKS = 200
LEAST_WAIT_S = 0.01


@dataclass(frozen=True)
class Line:
    """One thing, `times` in a row. `rects` are left and width in thousandths of the trace; `at_ms` since its start.

    `surely`: how it was joined, in words; empty where the kernel read the span itself.
    """

    text: str
    service: str
    at_ms: float
    took_ms: float
    failure: bool
    surely: str
    rects: list[tuple[float, float]]
    times: int = 1


@dataclass(frozen=True)
class Lane:
    """`left_out` things more, failures first kept."""

    lines: list[Line]
    left_out: int


def lane(timelines: Timelines, spans: dict[str, str], start: int, scale: int) -> Lane:
    """The lane of a trace: `spans` maps its span ids to services; `start` and `scale` in nanoseconds."""
    found = happenings(timelines, set(spans))
    seen = [one for several in found.values() for one in several if _shown(one)]
    kept = sorted(sorted(seen, key=lambda one: (not one.failure, -one.seconds)), key=_began)
    lines = [_line(list(same), spans, start, scale) for _, same in groupby(kept, lambda one: _key(one, spans))]
    ranked = sorted(range(len(lines)), key=lambda i: (not lines[i].failure, -lines[i].took_ms))
    chosen = [lines[i] for i in sorted(ranked[:MAX_LINES])]
    return Lane(chosen, len(seen) - sum(one.times for one in chosen))


def _shown(one: Happening) -> bool:
    return one.failure or (one.kind == "off_cpu" and one.seconds >= LEAST_WAIT_S)


def _began(one: Happening) -> float:
    return one.time - one.seconds * 1e9


def _key(one: Happening, spans: dict[str, str]) -> tuple[str, ...]:
    return one.said(), spans[one.span], one.source, str(one.exact)


def _line(same: Sequence[Happening], spans: dict[str, str], start: int, scale: int) -> Line:
    first = same[0]
    return Line(
        text=first.said(), service=spans[first.span], at_ms=(_began(first) - start) / 1e6,
        took_ms=sum(one.seconds for one in same) * 1e3, failure=first.failure, surely=_surely(first), times=len(same),
        rects=[_rect(one, start, scale) for one in same[:MAX_TICKS]],
    )  # fmt: skip


def _rect(one: Happening, start: int, scale: int) -> tuple[float, float]:
    left = min(max((_began(one) - start) * 1000 / scale, 0.0), 997.0)
    return round(left, 1), round(min(max(one.seconds * 1e12 / scale, 3.0), 1000 - left), 1)


def _surely(one: Happening) -> str:
    if one.exact:
        return ""
    how = {
        "thread": "the thread's record", "socket": "the socket's last span", "timeline": "the thread's spans",
        "connection": "the connection", "window": "the open requests",
    }  # fmt: skip
    return f"{one.confidence:.0%} by {how.get(one.source, one.source)}"
