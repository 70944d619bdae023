"""Where a process keeps the span of each of its threads: the slot of `otel_thread_ctx_v1` (OTEP 4947).

Resolved once per process, as the dynamic linker did: the module's relocation for the symbol, and what stands in its GOT
now. Relocations: TLSDESC 36/1031, DTPMOD64 16/1028 with DTPOFF64 17/1029, TPOFF64 18/1030 (x86-64/aarch64). Hostile
processes are normal: files are bounded, memory is read by address, and each refusal has one reason of a closed set.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection
from elftools.elf.sections import SymbolTableSection

SYMBOL = "otel_thread_ctx_v1"
_TLSDESC, _DTPMOD, _DTPOFF, _TPOFF = (36, 1031), (16, 1028), (17, 1029), (18, 1030)
MAXIMUM_FILE = 512 * 1024 * 1024
MAXIMUM_MODULES = 4096


MALFORMED = (ELFError, struct.error, ValueError, OverflowError, KeyError, AttributeError, TypeError)
"""What pyelftools raises for a file that is not whole."""


class Refusal(StrEnum):
    """Why a process has no slot."""

    GONE = "the process is gone or may not be read"
    NO_SYMBOL = "no module of it defines otel_thread_ctx_v1"
    NO_RELOCATION = "the module never reaches its own symbol"
    NOT_RESOLVED = "the dynamic linker has not resolved the symbol yet"
    MALFORMED = "a module of it is not a whole ELF file"
    UNSUPPORTED = "it is not a 64-bit little-endian process"


class SlotError(Exception):
    """No slot; `reason` is one of the closed set."""

    def __init__(self, reason: Refusal) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True)
class Slot:
    """`offset` from the thread pointer where `module` is 0, else from the module's block in the DTV."""

    offset: int
    module: int = 0
    dtv_entry: int = 16

    def packed(self) -> bytes:
        """`struct butfor_slot`."""
        return struct.pack("=qII", self.offset, self.module, self.dtv_entry)


@dataclass(frozen=True)
class _Module:
    path: str
    base: int
    inside: Path


def resolve(pid: int) -> Slot:
    """The slot of a process (host pid); raises SlotError."""
    modules = _modules(pid)
    entry = 8 if any("ld-musl" in module.path for module in modules) else 16
    for module in modules:
        try:
            reached = _reached(module.inside)
        except OSError:
            continue
        except MALFORMED as error:
            raise SlotError(Refusal.MALFORMED) from error
        if reached is not None:
            return _slot(pid, module.base, reached, entry)
    raise SlotError(Refusal.NO_SYMBOL)


def learn(path: Path) -> None:
    """Read a module before a process maps it, so that its first events find their slot; others are skipped."""
    with contextlib.suppress(OSError, SlotError, *MALFORMED):
        _reached(path)


def _modules(pid: int) -> list[_Module]:
    """Mapped files, each with the address that its offset 0 is mapped to."""
    try:
        lines = Path(f"/proc/{pid}/maps").read_text("utf-8", "surrogateescape").splitlines()
    except OSError as error:
        raise SlotError(Refusal.GONE) from error
    modules: dict[str, _Module] = {}
    for line in lines:
        fields = line.split(None, 5)
        if len(fields) < 6 or not fields[5].startswith("/") or fields[2] != "00000000" or fields[5] in modules:
            continue
        start = int(fields[0].partition("-")[0], 16)
        # the process's own view of its files: it may live in another mount namespace
        modules[fields[5]] = _Module(fields[5], start, Path(f"/proc/{pid}/map_files/{_file_name(fields[0])}"))
        if len(modules) >= MAXIMUM_MODULES:
            break
    return sorted(modules.values(), key=lambda module: "context" not in module.path)


def _file_name(addresses: str) -> str:
    start, _, end = addresses.partition("-")
    return f"{int(start, 16):x}-{int(end, 16):x}"


@dataclass(frozen=True)
class _Reached:
    """How a file reaches the symbol: relocations as (kind, address), before the file is placed in memory."""

    value: int
    first: int
    relocations: tuple[tuple[int, int], ...] = ()
    local: Slot | None = None


def _reached(path: Path) -> _Reached | None:
    """What is the same in every process that maps a file; None where it does not define the symbol."""
    status = path.stat()
    if status.st_size > MAXIMUM_FILE:
        return None
    key = (status.st_dev, status.st_ino, status.st_mtime_ns)
    if key not in _known:
        if len(_known) >= MAXIMUM_MODULES:
            _known.clear()
        with path.open("rb") as stream:
            _known[key] = _read(stream)
    return _known[key]


_known: dict[tuple[int, int, int], _Reached | None] = {}


def _read(stream: BinaryIO) -> _Reached | None:
    if stream.read(4) != b"\x7fELF":
        return None
    stream.seek(0)
    elf = ELFFile(stream)
    table = elf.get_section_by_name(".dynsym")
    found = _symbol(table) if isinstance(table, SymbolTableSection) else None
    if found is None or not isinstance(table, SymbolTableSection):
        return None
    if elf.elfclass != 64 or not elf.little_endian:
        raise SlotError(Refusal.UNSUPPORTED)
    value = table.get_symbol(found)["st_value"]
    if elf["e_type"] == "ET_EXEC":
        return _Reached(value, 0, local=_local_exec(elf, value))
    first = next((segment["p_vaddr"] for segment in elf.iter_segments("PT_LOAD") if segment["p_offset"] == 0), 0)
    return _Reached(value, first, tuple(_relocations(elf, found)))


def _relocations(elf: ELFFile, symbol: int) -> Iterator[tuple[int, int]]:
    for section in elf.iter_sections():
        if isinstance(section, RelocationSection):
            for relocation in section.iter_relocations():
                if relocation["r_info_sym"] == symbol:
                    yield relocation["r_info_type"], relocation["r_offset"]


def _symbol(table: SymbolTableSection) -> int | None:
    """The index of the definition; the string table is searched first, since most modules do not name it at all."""
    if SYMBOL.encode() not in table.stringtable.data():
        return None
    for index, symbol in enumerate(table.iter_symbols()):
        if symbol.name == SYMBOL and symbol["st_shndx"] != "SHN_UNDEF":
            return index
    return None


def _local_exec(elf: ELFFile, value: int) -> Slot:
    """A main program knows its offset itself: on x86-64 its block ends at the thread pointer."""
    segment = next(elf.iter_segments("PT_TLS"), None)
    if segment is None:
        raise SlotError(Refusal.MALFORMED)
    align = max(segment["p_align"], 1)
    if elf["e_machine"] == "EM_AARCH64":
        return Slot(max(16, align) + value)
    return Slot(value - (segment["p_memsz"] + align - 1) // align * align)


def _slot(pid: int, base: int, reached: _Reached, dtv_entry: int) -> Slot:
    """What the dynamic linker made of a file's relocations in this process."""
    if reached.local is not None:
        return reached.local
    module = None
    for kind, address in reached.relocations:
        at = base - reached.first + address
        if kind in _TLSDESC:
            return _described(pid, at, reached.value, dtv_entry)
        if kind in _TPOFF:
            return Slot(_words(pid, at, 1)[0])
        if kind in _DTPMOD:
            module = _words(pid, at, 1)[0]
        elif kind in _DTPOFF and module:
            return Slot(_words(pid, at, 1)[0], module, dtv_entry)
    raise SlotError(Refusal.NO_RELOCATION)


def _described(pid: int, at: int, value: int, dtv_entry: int) -> Slot:
    """A TLS descriptor {function, argument}; the argument is an offset, or points to {module, offset} in the DTV."""
    function, argument = _words(pid, at, 2)
    if not function:
        raise SlotError(Refusal.NOT_RESOLVED)
    # an offset is small (below the thread pointer on x86-64, above it on aarch64); a pointer is not
    if -(1 << 31) < argument < 1 << 31:
        return Slot(argument)
    module, offset = _words(pid, argument, 2)
    if not 0 < module < 1 << 20 or offset != value:
        raise SlotError(Refusal.NOT_RESOLVED)
    return Slot(offset, module, dtv_entry)


def _words(pid: int, at: int, count: int) -> tuple[int, ...]:
    try:
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            memory.seek(at)
            return struct.unpack(f"<{count}q", memory.read(8 * count))
    except (OSError, struct.error, OverflowError, ValueError) as error:
        raise SlotError(Refusal.GONE) from error
