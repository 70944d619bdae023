"""Durations in logarithmic buckets, as DDSketch lays them: any quantile is right within `ACCURACY`.

Bucket i holds (g**(i-1), g**i] seconds with g = (1 + a) / (1 - a); its key is its upper bound in seconds with
four significant digits. What is zero or negative is counted under `0`.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

ACCURACY = 0.05
BASE = (1 + ACCURACY) / (1 - ACCURACY)


def buckets(durations_ns: npt.NDArray[np.int64]) -> dict[str, int]:
    """Counts per bucket, in order of the bounds."""
    positive = durations_ns[durations_ns > 0] / 1e9
    # rounding keeps a duration that is exactly a bound in its own bucket on every platform
    index = np.ceil(np.round(np.log(positive) / math.log(BASE), 9)).astype(np.int64)
    found, counts = np.unique(index, return_counts=True)
    zero = len(durations_ns) - len(positive)
    return ({"0": zero} if zero else {}) | {bound(int(i)): int(n) for i, n in zip(found, counts, strict=True)}


def bound(index: int) -> str:
    """The upper bound of a bucket, as its key."""
    return f"{BASE**index:.4g}"


def quantile(counted: dict[str, int], q: float) -> float | None:
    """The value in seconds below which `q` of the counted durations lie; None if there are none."""
    total = sum(counted.values())
    seen = 0
    for key in sorted(counted, key=float):
        seen += counted[key]
        if seen >= q * total:
            return 2 * float(key) / (BASE + 1)  # the middle that keeps the relative error at ACCURACY
    return None
