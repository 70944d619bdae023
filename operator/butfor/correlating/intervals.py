"""Which interval a moment lies in, per group: whole columns at once, one search per question, no loop per event."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
_ROOM = 1 << 62
_FEW = 100_000


class Starts:
    """Starts in order of (group, time): the last of its group at or before a moment is found in one search.

    `group` and `start` are sorted by group, then start; groups are small numbers from 0.
    """

    def __init__(self, group: Rows, start: Rows) -> None:
        self.group = group
        low, high = (int(start.min()), int(start.max())) if len(start) else (0, 0)
        self._low, self._width = low, high - low + 2
        self._times = np.unique(start) if (int(group.max(initial=0)) + 1) * self._width > _ROOM else None
        if self._times is not None:  # a moment's rank stands for it where moments are too far apart for one number
            self._width = len(self._times) + 2
        self._keys = group * self._width + self._rank(start)

    def _rank(self, time: Rows) -> Rows:
        """0 before all starts, from 1 on at the first."""
        if self._times is not None:
            return np.searchsorted(self._times, time, "right").astype(np.int64)
        return np.clip(time - self._low, -1, self._width - 2) + 1

    def last(self, group: Rows, time: Rows) -> Rows:
        """Row of the last start in each group at or before the moment, or -1; group -1 is no group."""
        at = _searched(self._keys, group * self._width + self._rank(time), group) - 1
        known = (at >= 0) & (group >= 0)
        return np.where(known & (self.group[np.where(known, at, 0)] == group) if len(self.group) else False, at, -1)


def _searched(keys: Rows, wanted: Rows, group: Rows) -> Rows:
    """`searchsorted`, asked group by group: moments mostly come in order, and a search in order stays in the cache."""
    if len(wanted) < _FEW or not -(1 << 15) <= int(group.min()) <= int(group.max()) < 1 << 15:
        return np.searchsorted(keys, wanted, "right").astype(np.int64)
    by = np.argsort(group.astype(np.int16), kind="stable")
    found = np.empty(len(wanted), np.int64)
    found[by] = np.searchsorted(keys, wanted[by], "right")
    return found


class Holders:
    """Intervals that do not overlap in their group: which of them holds a moment, by a table over time.

    Sorted by group, then start; groups are small numbers from 0. A search steps through the table's bucket: they are
    made so narrow that most have one start or none; what steps do not find is searched for.
    """

    _STEPS = 4

    def __init__(self, group: Rows, start: Rows, end: Rows) -> None:
        self._low, self._high = (int(start.min()), int(end.max())) if len(start) else (0, 0)
        self._groups, self._width = int(group.max(initial=-1)) + 1, self._high - self._low + 3
        fits = (self._groups + 1) * self._width <= _ROOM and -_ROOM < self._low <= self._high < _ROOM
        self._starts = None if fits else Starts(group, start)
        self._end = end
        if fits:
            self._tabulate(group * self._width + (start - self._low + 1), group * self._width + (end - self._low + 1))

    def _tabulate(self, keys: Rows, ends: Rows) -> None:
        """`_table`: per bucket how many keys lie before it."""
        room = (self._groups + 1) * self._width
        self._shift = (room // (2 * len(keys) + 1)).bit_length()
        inside = np.bincount(keys >> self._shift, minlength=(room >> self._shift) + 1)
        self._table = np.zeros(len(inside), np.int32)
        np.cumsum(inside[:-1], dtype=np.int32, out=self._table[1:])
        self._steps = min(int(inside.max()), self._STEPS)
        self._sure = int(inside.max()) <= self._STEPS
        self._keys = np.append(keys, np.iinfo(np.int64).max)
        self._ends = np.concatenate((np.zeros(1, np.int64), ends))

    def places(self, group: Rows) -> Rows:
        """What `find` knows each group by; group -1 holds nothing."""
        known = np.where(group >= 0, group, self._groups)
        return known * self._width + 1 if self._starts is None else group

    def find(self, place: Rows, time: Rows) -> Rows:
        """1 + the row of the interval that holds each moment in the group of that place; 0 where none does."""
        if self._starts is not None:
            row = self._starts.last(place, time)
            return np.where((row >= 0) & (time < self._end[row]), row + 1, 0)
        key = np.clip(time, self._low - 1, self._high + 1)
        key -= self._low
        key += place
        at: Rows = self._table[key >> self._shift]
        for _ in range(self._steps):
            at += self._keys[at] <= key
        if not self._sure and len(left := np.flatnonzero(self._keys[at] <= key)):
            at[left] = np.searchsorted(self._keys, key[left], "right")
        at[key >= self._ends[at]] = 0
        return at


def grouped(group: Rows, time: Rows) -> Rows:
    """The order by group, then time, then place; times that are in order already cost next to nothing."""
    if (time[1:] >= time[:-1]).all() and 0 <= int(group.min(initial=0)) <= int(group.max(initial=0)) < 1 << 15:
        return np.argsort(group.astype(np.int16), kind="stable")
    return np.lexsort((time, group))


@dataclass(frozen=True)
class Pieces:
    """Pieces of time per group in which the same intervals are open: `count` of them, `total` the sum of their rows."""

    starts: Starts
    count: Rows
    total: Rows

    def at(self, group: Rows, time: Rows) -> Rows:
        """The piece that holds each moment, -1 before the first."""
        return self.starts.last(group, time)


def pieces(group: Rows, start: Rows, end: Rows) -> Pieces:
    """Cut time where an interval begins or ends. An interval holds its start and not its end."""
    rows = np.arange(len(group), dtype=np.int64)
    moments, of = np.concatenate((start, end)), np.concatenate((group, group))
    change = np.repeat(np.array([1, -1], np.int64), len(group))
    by = np.lexsort((moments, of))
    moments, of = moments[by], of[by]
    open_now = np.cumsum(change[by])
    total = np.cumsum((change * np.concatenate((rows, rows)))[by])
    last = np.ones(len(by), dtype=bool)
    last[:-1] = (np.diff(moments) != 0) | (np.diff(of) != 0)
    # what is open at the end of a group is nothing, so the sums need no reset between groups
    return Pieces(Starts(of[last], moments[last]), open_now[last], total[last])


def members(piece: Rows, found: Pieces, group: Rows, start: Rows, end: Rows, most: int) -> tuple[Rows, Rows]:
    """(index into `piece`, interval) of all intervals open in each piece; those with more than `most` are left out.

    The intervals come in any order, as they were given to `pieces`.
    """
    wanted = np.flatnonzero((found.count[piece] > 0) & (found.count[piece] <= most))
    single = found.count[piece[wanted]] == 1
    at, interval = [wanted[single]], [found.total[piece[wanted[single]]]]
    rest = wanted[~single]
    if len(rest):
        more = _crowded(np.unique(piece[rest]), found, group, start, end)
        first = np.searchsorted(more[0], piece[rest], "left")
        many = np.searchsorted(more[0], piece[rest], "right") - first
        step = np.arange(many.sum(), dtype=np.int64) - np.repeat(np.cumsum(many) - many, many)
        at.append(np.repeat(rest, many))
        interval.append(more[1][np.repeat(first, many) + step])
    return np.concatenate(at), np.concatenate(interval)


def _crowded(piece: Rows, found: Pieces, group: Rows, start: Rows, end: Rows) -> tuple[Rows, Rows]:
    """(piece, interval), by piece, of pieces with several intervals: each interval is laid over the pieces it spans."""
    first, last = found.at(group, start), found.at(group, end)
    low, high = np.searchsorted(piece, first, "left"), np.searchsorted(piece, last, "left")
    # an interval that spans very many pieces with few others open is bounded by `most` on the other side
    many = np.maximum(high - low, 0)
    step = np.arange(many.sum(), dtype=np.int64) - np.repeat(np.cumsum(many) - many, many)
    pairs = piece[np.repeat(low, many) + step], np.repeat(np.arange(len(group), dtype=np.int64), many)
    by = np.argsort(pairs[0], kind="stable")
    return pairs[0][by], pairs[1][by]
