"""Delta debugging with unresolved outcomes: the smallest subset that still passes a test. The test does the runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TypeVar

from butfor.evidence.predicates import Judgement

Item = TypeVar("Item")
Test = Callable[[list[Item]], Judgement]


def ddmin(items: Sequence[Item], test: Test[Item]) -> list[Item]:
    """A subset on which `test` gives `good` and from which no single item can be left out (1-minimal).

    `test(items)` must be `good`. `bad` and `unknown` (unresolved) alike mean that a subset is not enough; when the
    test starts to answer `unknown` for want of budget, the smallest subset so far is returned.
    """
    current = list(items)
    parts = min(2, len(current))
    while len(current) > 1:
        chunks = _chunks(current, parts)
        smaller = _first_good([*chunks, *_complements(chunks)] if parts > 1 else [], test, current)
        if smaller is not None:
            was_chunk = smaller in chunks
            current, parts = smaller, 2 if was_chunk else max(2, parts - 1)
        elif parts >= len(current):
            break
        else:
            parts = min(len(current), parts * 2)
    return current


def _chunks(items: list[Item], parts: int) -> list[list[Item]]:
    size, rest = divmod(len(items), parts)
    bounds = [k * size + min(k, rest) for k in range(parts + 1)]
    return [items[a:b] for a, b in pairwise(bounds)]


def _complements(chunks: list[list[Item]]) -> list[list[Item]]:
    if len(chunks) <= 2:
        return []  # they are each other's complement
    return [[item for other in chunks if other is not chunk for item in other] for chunk in chunks]


def _first_good(subsets: list[list[Item]], test: Test[Item], whole: list[Item]) -> list[Item] | None:
    return next((s for s in subsets if s and len(s) < len(whole) and test(s) == "good"), None)
