"""Exceptions seen from outside: frames that the kernel saw one pass, gathered into stacks and bound to spans.

The probe tells where an exception went, never what it was: it has no type and no message here. Frames come innermost
first; that one stack ends and another begins shows by a pause or by a place that is passed a second time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from butfor.correlating.exceptions import Occurrence
from butfor.correlating.frames import Sources
from butfor.correlating.orders import Ordered
from butfor.correlating.tracebacks import MAX_FRAMES
from butfor.evidence.timelines import ExceptionSeen

MAX_ROWS = 200_000
MAX_STACKS = 20
"""Per span; the last ones count, since what ends a request comes last."""
PAUSE_NS = 2_000_000
SOURCE = "uprobe"
TYPE = "Exception"
_COLUMNS = ("time_ns", "tid", "file", "line", "function")


def raised(spans: Ordered, kernel: pa.Table, joined: pa.Table, sources: Sources) -> dict[int, list[Occurrence]]:
    """Per span row the exceptions that passed through it, the latest first; only what was joined exactly."""
    codes = pc.index_in(pa.array(["exception"]), value_set=kernel["kind"].combine_chunks().dictionary)
    if not kernel.num_rows or codes[0].as_py() is None:
        return {}
    mine = pc.and_(
        pc.equal(kernel["kind"].cast(pa.string()).take(joined["event"]), "exception"),
        pc.greater_equal(joined["confidence"], pa.scalar(1.0, pa.float32())),
    )
    found = joined.filter(mine).slice(0, MAX_ROWS)
    ids = pc.index_in(found["span"].cast(pa.string()), value_set=spans.ids)
    at = np.asarray(pc.fill_null(ids, -1), dtype=np.int64).tolist()
    passed: defaultdict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    for row, frame in zip(at, kernel.select(_COLUMNS).take(found["event"]).to_pylist(), strict=True):
        if row >= 0 and frame["file"]:
            passed[row, frame["tid"]].append(frame)
    stacks: defaultdict[int, list[Occurrence]] = defaultdict(list)
    for (row, _), frames in passed.items():
        stacks[row] += [_occurrence(spans, row, stack, sources) for stack in _split(frames)]
    return {row: sorted(several, key=lambda one: -one.time)[:MAX_STACKS] for row, several in stacks.items()}


def _split(frames: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Stacks, frames innermost first."""
    stack: list[dict[str, Any]] = []
    seen: set[tuple[str, int, str]] = set()
    for frame in sorted(frames, key=lambda one: one["time_ns"]):
        place = frame["file"], frame["line"], frame["function"]
        if stack and (place in seen or frame["time_ns"] - stack[-1]["time_ns"] > PAUSE_NS):
            yield stack
            stack, seen = [], set()
        stack.append(frame)
        seen.add(place)
    if stack:
        yield stack


def _occurrence(spans: Ordered, row: int, stack: list[dict[str, Any]], sources: Sources) -> Occurrence:
    raw = [(frame["file"], frame["line"], frame["function"]) for frame in reversed(stack[:MAX_FRAMES])]
    seen = ExceptionSeen(
        span=spans.id(row), types=[TYPE], message="", template="", frames=sources.frames(raw), source=SOURCE
    )
    return Occurrence(row, stack[-1]["time_ns"], seen)
