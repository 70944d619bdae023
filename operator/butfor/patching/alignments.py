"""Aligning two sequences in order: what is the same, what is alike, and what only one side has; pure."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import TypeVar

ALIKE = 0.5
"""From this likeness on one element counts as another form of the other."""
MAXIMUM_PAIRS = 20_000
"""Beyond so many pairs to compare, only elements that are the same are aligned."""
Side = TypeVar("Side")
Pair = tuple[Side | None, Side | None]


def align(
    old: Sequence[Side], new: Sequence[Side], key: Callable[[Side], str], likeness: Callable[[Side, Side], float]
) -> list[Pair[Side]]:
    """Pairs in order; None stands for the side that has nothing like it. Likeness is 0 to 1, the sum is greatest."""
    head = 0
    while head < min(len(old), len(new)) and key(old[head]) == key(new[head]):
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and key(old[-1 - tail]) == key(new[-1 - tail]):
        tail += 1
    a, b = old[head : len(old) - tail], new[head : len(new) - tail]
    if len(a) * len(b) > MAXIMUM_PAIRS:
        scores = [[float(key(one) == key(other)) for other in b] for one in a]
    else:
        scores = [[likeness(one, other) for other in b] for one in a]
    same: list[Pair[Side]] = list(zip(old[:head], new[:head], strict=True))
    ends: list[Pair[Side]] = list(zip(old[len(old) - tail :], new[len(new) - tail :], strict=True))
    return same + _paired(a, b, scores) + ends


def _paired(a: Sequence[Side], b: Sequence[Side], scores: list[list[float]]) -> list[Pair[Side]]:
    best = _best(scores, len(a), len(b))
    pairs: list[Pair[Side]] = []
    i = j = 0
    while i < len(a) or j < len(b):
        if i < len(a) and j < len(b) and scores[i][j] >= ALIKE and best[i][j] == scores[i][j] + best[i + 1][j + 1]:
            pairs.append((a[i], b[j]))
            i, j = i + 1, j + 1
        elif i < len(a) and best[i][j] == best[i + 1][j]:
            pairs.append((a[i], None))
            i += 1
        else:
            pairs.append((None, b[j]))
            j += 1
    return pairs


def _best(scores: list[list[float]], rows: int, columns: int) -> list[list[float]]:
    """The greatest sum of likenesses from each place on."""
    best = [[0.0] * (columns + 1) for _ in range(rows + 1)]
    for i in reversed(range(rows)):
        for j in reversed(range(columns)):
            paired = scores[i][j] + best[i + 1][j + 1] if scores[i][j] >= ALIKE else 0.0
            best[i][j] = max(best[i + 1][j], best[i][j + 1], paired)
    return best


def text_likeness(one: str, other: str) -> float:
    """The share of two texts that is the same, by their beginnings; 0 where it is below `ALIKE`."""
    matcher = difflib.SequenceMatcher(None, one[:600], other[:600], autojunk=False)
    return matcher.ratio() if matcher.quick_ratio() >= ALIKE else 0.0
