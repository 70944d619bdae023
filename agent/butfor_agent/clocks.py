"""Kernel time to wall time, with bounds.

Events carry CLOCK_MONOTONIC; spans carry CLOCK_REALTIME. The difference is sampled: each sample is right within half
the time that reading it took, and a difference that moves by more is a step or a slew: kept, not smoothed away.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

STEP_NS = 1_000_000


@dataclass(frozen=True)
class Sample:
    """At `at_ns` (monotonic) wall time was `offset_ns` ahead, give or take `bound_ns`."""

    at_ns: int
    offset_ns: int
    bound_ns: int


def sample() -> Sample:
    """The tightest of five readings."""
    return min((_once() for _ in range(5)), key=lambda one: one.bound_ns)


def _once() -> Sample:
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    wall = time.clock_gettime_ns(time.CLOCK_REALTIME)
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
    middle = (before + after) // 2
    return Sample(middle, wall - middle, (after - before + 1) // 2)


class Clock:
    """Samples over a capture; one where nothing changed, more where the wall clock was set or slewed."""

    def __init__(self) -> None:
        self.samples = [sample()]

    def tick(self) -> bool:
        """Take a sample; whether the clock was stepped since the last one that was kept."""
        new, last = sample(), self.samples[-1]
        moved = abs(new.offset_ns - last.offset_ns)
        if moved > max(new.bound_ns + last.bound_ns, 10_000):
            self.samples.append(new)
        return moved > STEP_NS

    def wall(self, monotonic_ns: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Unix nanoseconds, each by the sample that was last before it."""
        starts = np.array([one.at_ns for one in self.samples], np.int64)
        offsets = np.array([one.offset_ns for one in self.samples], np.int64)
        times = monotonic_ns.astype(np.int64)
        return times + offsets[np.maximum(np.searchsorted(starts, times, "right") - 1, 0)]

    @property
    def bound_ns(self) -> int:
        """How far a converted time may be off, while the clock was not being changed."""
        return max(one.bound_ns for one in self.samples)
