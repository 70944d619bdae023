"""Counting what was not recorded, so that nothing is lost without a word."""

from __future__ import annotations

from collections import Counter

from butfor.evidence.bundles import Loss

MAX_KINDS = 200
"""Of losses listed one by one; what comes after is summed, since a hostile spool could name any number."""


class Losses:
    """Losses by place and reason."""

    def __init__(self, known: list[Loss] | None = None) -> None:
        self._counts: Counter[tuple[str, str]] = Counter()
        for loss in known or []:
            self.add(loss.where, loss.reason, loss.count)

    def add(self, where: str, reason: str, count: int = 1) -> None:
        """Count a loss."""
        key = (where[:200], reason[:200])
        if key not in self._counts and len(self._counts) >= MAX_KINDS:
            key = ("elsewhere", "other losses")
        self._counts[key] += count

    def listed(self) -> list[Loss]:
        """All of them, sorted."""
        return [Loss(where=w, reason=r, count=n) for (w, r), n in sorted(self._counts.items())]
