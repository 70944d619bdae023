"""Losses by reason and time: counters are looked at once a second, so a loss is known to the second it fell in."""

from __future__ import annotations

from collections.abc import Callable, Mapping

_MOST = 1000


class Windows:
    """Counts since `begin`; neighbouring seconds that lost for the same reason are one window."""

    def __init__(self, counters: Callable[[], Mapping[str, int]]) -> None:
        self._counters = counters
        self._before: dict[str, int] = {}
        self._since_ns = 0
        self._found: list[dict[str, int | str]] = []
        self._extra: dict[str, int] = {}

    def begin(self, now_ns: int) -> None:
        """Counts of before do not matter any more."""
        self._before, self._since_ns = dict(self._counters()), now_ns
        self._found, self._extra = [], {}

    def add(self, reason: str, count: int) -> None:
        """Count something that no counter of the kernel knows."""
        self._extra[reason] = self._extra.get(reason, 0) + count

    def tick(self, now_ns: int) -> None:
        """Close a window."""
        now = dict(self._counters())
        lost = {reason: count - self._before.get(reason, 0) for reason, count in now.items()}
        for reason, count in {**lost, **self._extra}.items():
            if count > 0:
                self._keep(reason, count, now_ns)
        self._before, self._since_ns, self._extra = now, now_ns, {}

    def listed(self) -> list[dict[str, int | str]]:
        """`reason`, `count`, `start_ns`, `end_ns` of each window, in the order of their ends."""
        return self._found

    def _keep(self, reason: str, count: int, now_ns: int) -> None:
        same = next((one for one in reversed(self._found) if one["reason"] == reason), None)
        if same is not None and (same["end_ns"] == self._since_ns or len(self._found) >= _MOST):
            same["count"], same["end_ns"] = int(same["count"]) + count, now_ns
            return
        self._found.append({"reason": reason, "count": count, "start_ns": self._since_ns, "end_ns": now_ns})
