"""The critical path of a request: which intervals of which spans determine how long it took.

Walking back from the end of a span, the time belongs to the child that ended last before that moment, and to
the span itself where no child was running. Summed over all rows this is exactly the request's duration.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from butfor.shaping.operations import Ints, Spans

Interval = tuple[int, int, int]
"""Row, start and end in ns."""


def children_of(spans: Spans) -> list[list[int]]:
    """Per row its children, the one that ends last first (ties: the later row)."""
    children: list[list[int]] = [[] for _ in spans.ids]
    for row in np.lexsort((np.arange(len(spans.ids)), spans.end))[::-1]:
        if spans.parent[row] >= 0:
            children[spans.parent[row]].append(int(row))
    return children


def intervals(root: int, spans: Spans, children: Sequence[Sequence[int]]) -> Iterator[Interval]:
    """The intervals that make up the duration of `root`, the latest first within each span."""
    start, end = spans.start, spans.end
    work = [(root, int(start[root]), int(end[root]))]
    while work:
        row, low, high = work.pop()
        for child in children[row]:
            child_end, child_start = min(int(end[child]), high), max(int(start[child]), low)
            if child_start >= child_end:
                continue  # it ran (as far as it ran at all) beside one that ended later
            if child_end < high:
                yield row, child_end, high
            work.append((child, child_start, child_end))
            high = child_start
        if low < high:
            yield row, low, high


def self_times(roots: Sequence[int], spans: Spans, children: Sequence[Sequence[int]]) -> Ints:
    """Per row the ns that it holds on the critical paths of `roots`."""
    total = np.zeros(len(spans.ids), dtype=np.int64)
    for root in roots:
        for row, low, high in intervals(root, spans, children):
            total[row] += high - low
    return total
