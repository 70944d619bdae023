"""Counting what could not be read, by place and reason."""

from __future__ import annotations

from collections import Counter

from butfor.evidence.bundles import Loss


class Losses:
    """Counts per (where, reason); the reasons are a closed set, so this stays small on hostile input."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()

    def add(self, where: str, reason: str, count: int = 1) -> None:
        """Count something that was not read."""
        self._counts[where, reason] += count

    @property
    def counted(self) -> int:
        """How many losses there are in all."""
        return self._counts.total()

    def summary(self) -> str:
        """The most frequent reasons, in one line."""
        return "; ".join(f"{where}: {reason} ({n})" for (where, reason), n in self._counts.most_common(3))

    def listed(self) -> list[Loss]:
        """As evidence, ordered by place and reason."""
        found = sorted(self._counts.items())
        return [Loss(where=where, count=count, reason=reason) for (where, reason), count in found]
