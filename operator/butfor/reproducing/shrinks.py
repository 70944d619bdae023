"""Delta debugging: the shortest list that still shows the failure, within a budget of tests."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass
class _Test(Generic[T]):
    """A test that may be called `left` more times; used up, it says *does not fail*, so that shrinking ends."""

    fails: Callable[[list[T]], bool]
    left: int

    def __call__(self, candidate: list[T]) -> bool:
        """Tell whether the candidate still fails, as far as the budget reaches."""
        if self.left <= 0:
            return False
        self.left -= 1
        return self.fails(candidate)


def shrink(items: Sequence[T], fails: Callable[[list[T]], bool], budget: int) -> list[T]:
    """Return a subsequence of `items` for which `fails` holds, by ddmin (Zeller and Hildebrandt).

    `fails(items)` must hold. With enough budget the result is 1-minimal: no single item can be left out.
    The empty list is tried first, because most failures need no state at all.
    """
    test = _Test(fails, budget)
    current = list(items)
    if not current or test([]):
        return []
    parts = 2
    while len(current) >= 2:
        reduced = _reduce(current, parts, test)
        if reduced is None:
            if parts >= len(current):
                break
            parts = min(len(current), parts * 2)
        else:
            parts = max(2, parts - 1) if len(reduced[0]) > len(current) // 2 else 2
            current = reduced[0]
    return current


def _reduce(current: list[T], parts: int, test: _Test[T]) -> tuple[list[T]] | None:
    """Return a part, or the rest without a part, that still fails; None if none does."""
    bounds = [round(n * len(current) / parts) for n in range(parts + 1)]
    pieces = [(bounds[n], bounds[n + 1]) for n in range(parts)]
    for start, end in pieces:
        if test(current[start:end]):
            return (current[start:end],)
    for start, end in pieces if parts > 2 else []:
        if test(current[:start] + current[end:]):
            return (current[:start] + current[end:],)
    return None
