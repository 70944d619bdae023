"""Names of functions in native code: a module's symbol table, read once, and where in it a file offset lies.

Files may be hostile or gone: each is bounded, is read only where it is the one that was mapped, and has no names else.
Layouts are those of the ELF-64 specification, little-endian.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from typing import Any

import numpy as np
from elftools.elf.elffile import ELFFile
from numpy.typing import NDArray

from butfor_agent.slots import MALFORMED, MAXIMUM_FILE

MOST_MODULES, MOST_BYTES = 256, 64 << 20
"""Modules whose names are read, and the size of one's table of symbols or of names."""
MOST_NAME = 200
_SYMBOL = np.dtype([("name", "<u4"), ("info", "u1"), ("other", "u1"), ("section", "<u2"), ("value", "<u8"),
                    ("size", "<u8")])  # fmt: skip
_FUNCTIONS = (2, 10)  # STT_FUNC, STT_GNU_IFUNC
_TABLES = (".symtab", ".dynsym")
_WORD = (1 << 64) - 1


class Symbols:
    """Functions by module and offset in its file."""

    def __init__(self) -> None:
        self._tables: dict[tuple[str, int], _Table | None] = {}

    def name(self, pid: int, path: str, inode: int, offset: int) -> str:
        """The function, or empty. `pid`: who has it mapped, maybe in a mount namespace of its own."""
        key = (path, inode)
        if key not in self._tables:
            self._tables[key] = _read(pid, path, inode) if len(self._tables) < MOST_MODULES else None
        table = self._tables[key]
        return table.name(offset) if table is not None else ""


class _Table:
    """Functions by address; `segments` are rows of file offset, size and address."""

    def __init__(self, segments: Sequence[tuple[int, int, int]], symbols: NDArray[Any], names: bytes) -> None:
        self._segments, self._names = segments, names
        functions = np.isin(symbols["info"] & 0xF, _FUNCTIONS) & (symbols["section"] != 0)
        order = np.lexsort((symbols["size"][functions], symbols["value"][functions]))
        self._symbols = symbols[functions][order]

    def name(self, offset: int) -> str:
        """The function whose code holds this offset."""
        address = next((at + offset - start for start, size, at in self._segments if 0 <= offset - start < size), None)
        if address is None:
            return ""
        at = int(np.searchsorted(self._symbols["value"], np.uint64(address & _WORD), side="right")) - 1
        if at < 0:
            return ""
        found = self._symbols[at]
        if found["size"] and address >= int(found["value"]) + int(found["size"]):
            return ""
        return self._text(int(found["name"]))

    def _text(self, at: int) -> str:
        end = self._names.find(b"\0", at, at + MOST_NAME)
        return self._names[at : end if end >= 0 else at + MOST_NAME].decode("utf-8", "replace")


def _read(pid: int, path: str, inode: int) -> _Table | None:
    for known in (f"/proc/{pid}/root{path}", path):
        with contextlib.suppress(OSError, MemoryError, *MALFORMED), open(known, "rb", opener=_opened) as file:
            state = os.fstat(file.fileno())
            if state.st_ino == inode and stat.S_ISREG(state.st_mode) and state.st_size <= MAXIMUM_FILE:
                return _parsed(ELFFile(file))
    return None


def _opened(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)  # a pipe by that name would be waited for


def _parsed(elf: ELFFile) -> _Table | None:
    if elf.elfclass != 64 or not elf.little_endian:
        return None
    segments = [
        (one["p_offset"], one["p_filesz"], one["p_vaddr"]) for one in elf.iter_segments("PT_LOAD")
    ][:MOST_MODULES]  # fmt: skip
    for name in _TABLES:
        section = elf.get_section_by_name(name)
        if section is None or not 0 < section["sh_size"] <= MOST_BYTES:
            continue
        texts = elf.get_section(section["sh_link"])
        if texts["sh_size"] <= MOST_BYTES:
            raw = section.data()
            symbols = np.frombuffer(raw, _SYMBOL, count=len(raw) // _SYMBOL.itemsize)
            return _Table(segments, symbols, texts.data())
    return None
