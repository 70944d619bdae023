"""Judging a slowdown: interleaved runs of good and bad, their ratio, and a rank test.

The Mann-Whitney U test needs no assumption about how times are distributed; its one-sided p-value is exact for
up to 20 values a side without ties, else a normal approximation with correction for ties and continuity.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from functools import cache

from butfor.evidence.reproductions import Slowness

SMALLEST_RATIO = 1.5
LARGEST_P = 0.01
_EXACT = 20


def compare(
    good: Sequence[float], bad: Sequence[float], counts: dict[str, tuple[float, float]] | None = None
) -> Slowness:
    """Return medians (seconds), ratio, p-value and the limit between good and bad.

    The limit is the geometric mean of good's slowest and bad's fastest run, or of the medians where those overlap.
    """
    slow, fast = statistics.median(bad), max(statistics.median(good), 1e-6)
    low, high = (max(good), min(bad)) if max(good) < min(bad) else (fast, slow)
    return Slowness(
        good_s=fast, bad_s=slow, ratio=slow / fast, p_value=mann_whitney(good, bad), runs=len(good) + len(bad),
        threshold_s=math.sqrt(max(low, 1e-6) * max(high, 1e-6)), counts=counts or {},
    )  # fmt: skip


def is_slower(found: Slowness) -> bool:
    """Tell whether bad is slower by a ratio and a p-value that are no accident."""
    return found.ratio >= SMALLEST_RATIO and found.p_value <= LARGEST_P


def mann_whitney(smaller: Sequence[float], larger: Sequence[float]) -> float:
    """Return the probability of values this far apart if both came from the same distribution (one-sided)."""
    m, n = len(smaller), len(larger)
    if not m or not n:
        return 1.0
    u = sum((a > b) + 0.5 * (a == b) for a in smaller for b in larger)  # small when `smaller` is smaller
    ties = Counter([*smaller, *larger])
    if max(m, n) <= _EXACT and max(ties.values()) == 1:
        return sum(_ways(m, n, k) for k in range(int(u) + 1)) / math.comb(m + n, n)
    total = m + n
    correction = sum(t**3 - t for t in ties.values()) / (total * (total - 1))
    spread = math.sqrt(m * n / 12 * (total + 1 - correction))
    if spread == 0:
        return 1.0
    return 0.5 * math.erfc((m * n / 2 - u - 0.5) / spread / math.sqrt(2))


@cache
def _ways(m: int, n: int, u: int) -> int:
    """Return how many orders of m and n values have the statistic u."""
    if u < 0:
        return 0
    if m == 0 or n == 0:
        return int(u == 0)
    return _ways(m - 1, n, u - n) + _ways(m, n - 1, u)
