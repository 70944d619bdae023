"""Calls between operations, and two patterns in them: retries, and the same call once per item (N+1).

Retry: under one parent, the same call again (same name, target and statement) after it failed.
N+1: under one parent, `MANY` or more calls of the same client or database operation, one after the other.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import numpy as np

from butfor.shaping.operations import Spans

Pattern = Literal["call", "retry", "n_plus_one"]
MANY = 5


@dataclass
class Calls:
    """All calls from one operation to another: how many, the rows of the callees, groups per pattern."""

    count: int = 0
    rows: list[int] = field(default_factory=list)
    patterns: Counter[Pattern] = field(default_factory=Counter)

    @property
    def pattern(self) -> Pattern:
        """The pattern of most groups; a plain call where neither was seen; retry wins a tie."""
        retry, many = self.patterns["retry"], self.patterns["n_plus_one"]
        if not retry and not many:
            return "call"
        return "retry" if retry >= many else "n_plus_one"


def calls(spans: Spans) -> dict[tuple[int, int], Calls]:
    """Per (operation of the parent, operation of the child)."""
    found: dict[tuple[int, int], Calls] = defaultdict(Calls)
    for parent, operation, rows in _siblings(spans):
        call = found[int(spans.operation[parent]), operation]
        call.count += len(rows)
        call.rows.extend(rows)
        if len(rows) > 1:
            call.patterns.update(_seen(spans, operation, rows))
    return dict(sorted(found.items()))


def _siblings(spans: Spans) -> Iterator[tuple[int, int, list[int]]]:
    """Rows with the same parent and operation, in order of time."""
    rows = np.flatnonzero(spans.parent >= 0)
    order = rows[np.lexsort((rows, spans.start[rows], spans.operation[rows], spans.parent[rows]))]
    if not len(order):
        return
    parent, operation = spans.parent[order], spans.operation[order]
    cuts = np.flatnonzero((np.diff(parent) != 0) | (np.diff(operation) != 0)) + 1
    for group in np.split(order, cuts):
        yield int(spans.parent[group[0]]), int(spans.operation[group[0]]), [int(row) for row in group]


def _seen(spans: Spans, operation: int, rows: list[int]) -> set[Pattern]:
    found: set[Pattern] = set()
    if any(_is_retry(spans, a, b) for a, b in pairwise(rows)):
        found.add("retry")
    if spans.operations[operation].kind in {"CLIENT", "DB"} and _in_sequence(spans, rows) >= MANY:
        found.add("n_plus_one")
    return found


def _is_retry(spans: Spans, first: int, second: int) -> bool:
    again = spans.raw[first] == spans.raw[second] and spans.start[second] >= spans.end[first]
    return bool(again and spans.error[first])


def _in_sequence(spans: Spans, rows: list[int]) -> int:
    """How many of `rows` (by start) follow each other without overlap."""
    count, busy_until = 0, -1
    for row in rows:
        if spans.start[row] >= busy_until:
            count, busy_until = count + 1, int(spans.end[row])
    return count
