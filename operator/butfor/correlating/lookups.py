"""Where texts stand in a column, and small numbers for large ones: many at once, by sorting and tables."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from butfor.correlating.orders import Rows

WIDEST = 1 << 22
"""As many ids as the kernel gives out (PID_MAX_LIMIT): a table of them is small."""
_MIXED = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio: neighbours land far apart
_HALF = np.uint64(32)

Words = npt.NDArray[np.uint64]


class Numbers:
    """Numbers from 1 for given values; another value has 0 or, where it lies between them, a number of its own."""

    def __init__(self, values: Rows) -> None:
        self._low, high = (int(values.min()), int(values.max())) if len(values) else (0, -1)
        width = high - self._low + 1
        self._sorted = np.unique(values) if width > WIDEST or self._low < 0 else None
        self.size = (width if self._sorted is None else len(self._sorted)) + 1

    def values(self, numbers: Rows) -> list[int]:
        """What the numbers, which are from 1, stand for."""
        found: list[int] = (numbers + (self._low - 1) if self._sorted is None else self._sorted[numbers - 1]).tolist()
        return found

    def of(self, values: Rows) -> Rows:
        """The number of each."""
        if self._sorted is None:
            at = values - (self._low - 1)
            at[(at < 0) | (at >= self.size)] = 0
            return at
        at = np.minimum(np.searchsorted(self._sorted, values), len(self._sorted) - 1)
        return np.where(self._sorted[at] == values, at + 1, 0)


def first_rows(wanted: pa.Array, known: pa.Array) -> Rows:
    """Per text of `wanted` the first row of `known` that has it, or -1; no text is wanted twice.

    Texts of one width, as ids are, are mixed into numbers and sorted together; what meets is compared as text.
    """
    mixed = _mixed(known)
    if mixed is None:
        return _plainly(wanted, known)
    found = np.full(len(wanted), -1, np.int64)
    at = np.flatnonzero(pc.equal(pc.binary_length(wanted), len(known[0].as_py().encode())))
    if (other := _mixed(wanted.take(pa.array(at)))) is None:
        return found
    met = _met(mixed, other)
    at, met = at[met >= 0], met[met >= 0]
    texts = wanted.take(pa.array(at))
    same = np.asarray(pc.equal(texts, known.take(pa.array(met))))
    found[at] = met
    if not same.all():
        found[at[~same]] = _plainly(texts.filter(pa.array(~same)), known)
    return found


def _plainly(wanted: pa.Array, known: pa.Array) -> Rows:
    return np.asarray(pc.fill_null(pc.index_in(wanted, value_set=known), -1), dtype=np.int64)


def _mixed(texts: pa.Array) -> Words | None:
    """A number for each text; None where they are not all of one width, or that is no multiple of eight bytes."""
    if texts.type != pa.string() or texts.null_count or not len(texts):
        return None
    _, ends, data = texts.buffers()
    offsets = np.frombuffer(ends, np.int32, len(texts) + 1, 4 * texts.offset)
    width = int(offsets[1] - offsets[0])
    if not width or width % 8 or (np.diff(offsets) != width).any():
        return None
    words = np.frombuffer(data, np.uint64, len(texts) * width // 8, int(offsets[0])).reshape(len(texts), -1)
    found = words[:, 0] * _MIXED
    for at in range(1, words.shape[1]):
        found ^= found >> _HALF
        found += words[:, at]
        found *= _MIXED
    found ^= found >> _HALF
    return found * _MIXED


def _met(known: Words, wanted: Words) -> Rows:
    """Per wanted number the first row of a known one with the same upper bits, or -1."""
    count = len(known) + len(wanted)
    below = np.uint64((1 << count.bit_length()) - 1)
    keys = np.concatenate((known, wanted))
    keys &= ~below
    keys |= np.arange(count, dtype=np.uint64)  # where each came from: one sort of plain numbers orders both
    keys.sort()
    row = (keys & below).astype(np.int64)
    keys &= ~below
    first = np.zeros(count, np.int64)
    first[1:] = np.where(keys[1:] != keys[:-1], np.arange(1, count), 0)
    lead = row[np.maximum.accumulate(first)]
    asked = row >= len(known)
    found = np.full(len(wanted), -1, np.int64)
    found[row[asked] - len(known)] = np.where(lead[asked] < len(known), lead[asked], -1)
    return found
