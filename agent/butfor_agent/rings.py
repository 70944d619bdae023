"""The ring buffer as numpy sees it: a batch is one strided view over the mapped pages, never an object per record.

Layout: Linux Documentation/bpf/ringbuf.rst. The consumer's page can be written, the producer's page and the data, which
is mapped twice in a row so that no record ever wraps, can only be read. All records here have one size.
"""

from __future__ import annotations

import ctypes
import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from butfor_agent.loading import KernelMap

_HEADER = 8
_BUSY, _DISCARD = np.uint32(1 << 31), np.uint32(1 << 30)


class Ring:
    """Reads whole records in batches; `read` copies them out before it gives their room back."""

    def __init__(self, ring: KernelMap, dtype: np.dtype[Any]) -> None:
        page = mmap.PAGESIZE
        self._size, self._dtype = ring.entries, dtype
        self._stride = (_HEADER + dtype.itemsize + 7) // 8 * 8
        self._consumer = mmap.mmap(ring.descriptor, page, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        length = page + 2 * self._size
        self._produced = mmap.mmap(ring.descriptor, length, mmap.MAP_SHARED, mmap.PROT_READ, offset=page)
        # opaque until it is copied out: numpy would copy a struct field by field
        opaque = np.dtype((np.void, dtype.itemsize))
        self._record = np.dtype(
            {"names": ["length", "data"], "formats": ["<u4", opaque], "offsets": [0, _HEADER], "itemsize": self._stride}
        )
        self._consumer_at = ctypes.c_uint64.from_buffer(self._consumer)
        self._producer_at = np.frombuffer(self._produced, np.uint64, 1)
        self._data = np.frombuffer(self._produced, np.uint8, offset=page)

    def read(self, most: int = 1 << 20) -> NDArray[Any]:
        """The records that are complete, at most so many, in order; their room is free again."""
        at = self._consumer_at.value
        count = min((int(self._producer_at[0]) - at) // self._stride, most)
        if count <= 0:
            return np.empty(0, self._dtype)
        start = at & (self._size - 1)
        # the view may not run past the second mapping; what is left comes with the next call
        count = min(count, (2 * self._size - start) // self._stride)
        view = self._data[start : start + count * self._stride].view(self._record)
        lengths = view["length"].copy()
        if len(busy := np.flatnonzero(lengths & _BUSY)):
            view, lengths = view[: busy[0]], lengths[: busy[0]]
        kept: NDArray[Any] = view["data"]
        if np.any(dropped := (lengths & _DISCARD) != 0):
            kept = kept[~dropped]
        whole = kept.copy().view(self._dtype)
        self._consumer_at.value = at + len(view) * self._stride
        return whole

    def waiting(self) -> int:
        """Bytes that were produced and not read yet."""
        return int(self._producer_at[0]) - int(self._consumer_at.value)

    def close(self) -> None:
        """Unmap; views of the ring must not be used any more (`read` hands out copies only)."""
        del self._consumer_at, self._producer_at, self._data
        self._consumer.close()
        self._produced.close()
