"""What is believed about each candidate: the prior from the ranking, updated by noisy verdicts.

Model: one commit brought the failure in, so a revision fails exactly if that commit is its ancestor or itself.
A run of a failing revision shows the failure with probability `detection`; one of a sound revision shows it
with `FALSE_ALARM`. The next revision is the one whose run is expected to tell most; without noise that is
the one that splits the posterior most evenly.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from butfor.bisecting.lineages import Lineage

FALSE_ALARM = 0.002
"""How often a sound revision is judged bad: never zero, so that no single run can rule a commit out for good."""
DETECTION_CEILING = 0.998
UNIFORM_SHARE = 0.2
"""Part of the prior that is spread evenly: a ranking that is wholly wrong costs about log2(1/0.2) more runs."""
ROWS = 4000
"""Revisions that are weighed in one step; a longer range is first weighed at as many quantiles."""

Vector = NDArray[np.float64]


def prior(lineage: Lineage, probabilities: Mapping[str, float]) -> Vector:
    """The ranking's probabilities, what they leave of 1 spread evenly, smoothed."""
    size = len(lineage)
    given = np.array([max(0.0, probabilities.get(sha, 0.0)) for sha in lineage.shas], dtype=np.float64)
    given = np.nan_to_num(given, nan=0.0, posinf=0.0)
    total = float(given.sum())
    given = given / total if total > 1.0 else given + (1.0 - total) / size
    return np.asarray((1.0 - UNIFORM_SHARE) * given + UNIFORM_SHARE / size, dtype=np.float64)


class Posterior:
    """Probabilities over the commits of a lineage; they sum to 1."""

    def __init__(self, lineage: Lineage, start: Vector, detection: float = 1.0) -> None:
        self.lineage = lineage
        self.detection = min(max(detection, 0.05), DETECTION_CEILING)
        self._log = np.log(start)
        self.values = start / start.sum()

    def observe(self, i: int, *, bad: bool) -> None:
        """Take in one run of revision `i`."""
        hit = self.detection if bad else 1.0 - self.detection
        miss = FALSE_ALARM if bad else 1.0 - FALSE_ALARM
        self._log = self._log + np.where(self.lineage.row(i), np.log(hit), np.log(miss))
        scaled = np.exp(self._log - self._log.max())
        self.values = scaled / scaled.sum()

    def gains(self, revisions: Iterable[int]) -> tuple[NDArray[np.int64], Vector]:
        """Expected information in bits of one run per revision; a very long list is sampled (`ROWS`)."""
        chosen = self._sample(np.fromiter(revisions, dtype=np.int64))
        masses = np.array([self.values[self.lineage.row(int(i))].sum() for i in chosen], dtype=np.float64)
        seen_bad = masses * self.detection + (1.0 - masses) * FALSE_ALARM
        known = masses * _entropy(self.detection) + (1.0 - masses) * _entropy(FALSE_ALARM)
        return chosen, np.asarray(_entropy(seen_bad) - known, dtype=np.float64)

    def _sample(self, revisions: NDArray[np.int64]) -> NDArray[np.int64]:
        if len(revisions) <= ROWS:
            return revisions
        cumulative = np.cumsum(self.values[revisions])
        quantiles = np.linspace(0.0, cumulative[-1], ROWS)
        return np.asarray(revisions[np.unique(np.searchsorted(cumulative, quantiles[:-1]))], dtype=np.int64)


def _entropy(share: Vector | float) -> Vector:
    clipped = np.clip(np.asarray(share, dtype=np.float64), 1e-12, 1.0 - 1e-12)
    return np.asarray(-(clipped * np.log2(clipped) + (1 - clipped) * np.log2(1 - clipped)), dtype=np.float64)


def trouble(size: int, unknown: Iterable[int], runnable: Iterable[int]) -> Vector:
    """Chance per revision that it cannot be judged, from its neighbours: what did not build spreads nearby."""
    places = np.arange(size, dtype=np.float64)
    failed, ran = np.zeros(size), np.zeros(size)
    for i in unknown:
        failed += 1.0 / (1.0 + np.abs(places - i))
    for i in runnable:
        ran += 1.0 / (1.0 + np.abs(places - i))
    return np.asarray((0.02 + failed) / (1.0 + failed + ran), dtype=np.float64)
