"""User stacks by id: frames as module, offset and function, while the process has its mappings; `stacks.arrow`."""

from __future__ import annotations

import bisect
import struct
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from butfor_agent.loading import KernelMap
from butfor_agent.symbols import Symbols

FRAME = pa.struct(
    [("module", pa.string()), ("offset", pa.uint64()), ("function", pa.string()), ("address", pa.uint64())]
)
SCHEMA = pa.schema([("pid", pa.int64()), ("stack", pa.int32()), ("frames", pa.list_(FRAME))])
"""Frames innermost first; `module` is empty where the address is in no mapped file, `function` where it has no name."""
_MOST_MAPPINGS = 65536
_MOST_STACKS = 200_000
_AT_ONCE = 32
"""Processes whose mappings are read in one turn: some 0.1 ms each."""


@dataclass(frozen=True)
class _Mapping:
    start: int
    end: int
    file_offset: int
    inode: int
    path: str


class Frame(NamedTuple):
    """Where a thread was: `offset` in the file of `module`, which is empty where the address is in no mapped file."""

    address: int
    module: str = ""
    offset: int = 0
    inode: int = 0


class Stacks:
    """Frames of each (pid, stack id) once. `forget` when a process becomes another program."""

    def __init__(self, kernel_map: KernelMap) -> None:
        self._map = kernel_map
        self._mappings: dict[int, list[_Mapping]] = {}
        self._waiting: list[int] = []
        self._symbols = Symbols()
        self.known: dict[tuple[int, int], list[Frame]] = {}

    def see(self, pid: int, stack: int) -> None:
        """Read a stack that is not known yet."""
        if stack < 0 or (pid, stack) in self.known or len(self.known) >= _MOST_STACKS:
            return
        raw = self._map.lookup(struct.pack("=I", stack))
        addresses = [a for a in struct.unpack(f"={len(raw) // 8}Q", raw) if a] if raw else []
        self.known[pid, stack] = [self._frame(pid, address) for address in addresses]

    def learn(self, pid: int, like: int = 0) -> None:
        """What it has mapped now, in case that it dies before a stack of it is read; `like`: whose copy it is."""
        known = _mappings(pid) or _mappings(like) or self._mappings.get(like)
        if known:
            self._mappings[pid] = known

    def refresh(self, pids: Collection[int]) -> None:
        """Learn again, for what was loaded since; some of them, the others at the next times."""
        self._waiting = [pid for pid in self._waiting if pid in pids] or list(pids)
        now, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
        for pid in now:
            self.learn(pid)

    def forget(self, pid: int) -> None:
        """Its mappings are those of another program now."""
        self._mappings.pop(pid, None)

    def clear(self) -> None:
        """Ids are given anew for what comes now."""
        self.known.clear()

    def table(self) -> pa.Table:
        """Every stack that was seen; names are looked up only now, where nobody waits for the next event."""
        rows = [
            {"pid": pid, "stack": stack, "frames": [self._row(pid, at, frame) for at, frame in enumerate(frames)]}
            for (pid, stack), frames in self.known.items()
        ]
        return pa.Table.from_pylist(rows, schema=SCHEMA)

    def _row(self, pid: int, at: int, frame: Frame) -> dict[str, object]:
        # all but the innermost are where a call returns to, which may be the first byte behind its function
        inside = frame.offset - int(at > 0)
        function = self._symbols.name(pid, frame.module, frame.inode, inside) if frame.module else ""
        return {"module": frame.module, "offset": frame.offset, "function": function, "address": frame.address}

    def _frame(self, pid: int, address: int) -> Frame:
        mappings = self._mappings.get(pid)
        if mappings is None or not (found := _find(mappings, address)):
            self.learn(pid)  # of a process that is gone only what was known of it is left
            found = _find(self._mappings.get(pid, []), address)
        if found is None:
            return Frame(address)
        return Frame(address, found.path, address - found.start + found.file_offset, found.inode)


def _find(mappings: list[_Mapping], address: int) -> _Mapping | None:
    at = bisect.bisect_right(mappings, address, key=lambda one: one.start) - 1
    return mappings[at] if at >= 0 and address < mappings[at].end else None


def _mappings(pid: int) -> list[_Mapping]:
    found: list[_Mapping] = []
    try:
        with Path(f"/proc/{pid}/maps").open("r", encoding="utf-8", errors="replace") as lines:
            for line in lines:
                fields = line.rstrip("\n").split(None, 5)
                if len(fields) == 6 and fields[5].startswith("/") and "x" in fields[1]:
                    start, _, end = fields[0].partition("-")
                    inode = int(fields[4])
                    found.append(_Mapping(int(start, 16), int(end, 16), int(fields[2], 16), inode, fields[5]))
                if len(found) >= _MOST_MAPPINGS:
                    break
    except (OSError, ValueError):
        return []
    return sorted(found, key=lambda one: one.start)
