"""CPython from outside: which interpreter a process runs, and which file, line and function a code object stands for.

Offsets are those of CPython's own structures (Include/cpython/code.h, Include/internal/pycore_frame.h), by minor
version; an interpreter that is not in the table is refused. A process is hostile: everything that is read is bounded.
"""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

HOOK = "PyTraceBack_Here"
_NAME = re.compile(r"(?:libpython|python)3\.(\d+)(?:\.so[.\d]*)?$")
_MOST_TEXT, _MOST_LINES, _MOST_FILES = 4096, 1 << 20, 1024


@dataclass(frozen=True)
class Layout:
    """Offsets in bytes: in frames, in code objects, in strings."""

    minor: int
    frame: int
    code: int
    instruction: int
    first_line: int
    filename: int
    qualname: int
    line_table: int
    instructions: int
    ascii_data: int
    compact_data: int

    def packed(self) -> bytes:
        """`struct butfor_python`."""
        return struct.pack("=IIII", self.frame, self.code, self.instruction, self.minor)


LAYOUTS = {
    11: Layout(11, 24, 32, 56, 72, 112, 128, 136, 184, 48, 72),
    12: Layout(12, 24, 0, 56, 68, 112, 128, 136, 192, 40, 56),
    13: Layout(13, 24, 0, 56, 68, 112, 128, 136, 200, 40, 56),
}


@dataclass(frozen=True)
class Interpreter:
    """A CPython binary: where its hook is, as a file that can be opened from here, and how it lays things out."""

    path: Path
    offset: int
    layout: Layout


@dataclass(frozen=True)
class Place:
    """Where a frame was; `line` is 0 where the table does not say."""

    file: str
    line: int
    function: str


def interpreter(pid: int) -> Interpreter | None:
    """The CPython of a process, None where it runs none that is known."""
    for path in _python_files(pid):
        found = _NAME.search(path.rpartition("/")[2])
        layout = LAYOUTS.get(int(found.group(1))) if found else None
        # the process's own view: it may live in another mount namespace
        seen = Path(f"/proc/{pid}/root{path}")
        offset = _hook(seen) if layout else None
        if layout is not None and offset is not None:
            return Interpreter(seen, offset, layout)
    return None


def _python_files(pid: int) -> list[str]:
    try:
        lines = Path(f"/proc/{pid}/maps").read_text("utf-8", "replace").splitlines()
    except OSError:
        return []
    paths = {fields[5] for line in lines if len(fields := line.split(None, 5)) == 6 and "python3" in fields[5]}
    return sorted((path for path in paths if path.startswith("/")), key=lambda path: "lib" not in path)


_hooks: dict[tuple[int, int, int], int | None] = {}


def _hook(path: Path) -> int | None:
    """The hook's offset in the file; read once per file."""
    try:
        status = path.stat()
    except OSError:
        return None
    key = (status.st_dev, status.st_ino, status.st_mtime_ns)
    if key not in _hooks:
        if len(_hooks) >= _MOST_FILES:
            _hooks.clear()
        _hooks[key] = _read_hook(path)
    return _hooks[key]


def _read_hook(path: Path) -> int | None:
    try:
        with path.open("rb") as stream:
            elf = ELFFile(stream)
            table = elf.get_section_by_name(".dynsym")
            symbols = table.get_symbol_by_name(HOOK) if isinstance(table, SymbolTableSection) else None
            if not symbols or symbols[0]["st_shndx"] == "SHN_UNDEF":
                return None
            address = int(symbols[0]["st_value"])
            for segment in elf.iter_segments("PT_LOAD"):
                if segment["p_vaddr"] <= address < segment["p_vaddr"] + segment["p_filesz"]:
                    return int(address - segment["p_vaddr"] + segment["p_offset"])
    except (OSError, ELFError, struct.error, ValueError, UnicodeDecodeError):
        return None
    return None


def head(pid: int, layout: Layout, code: int) -> bytes:
    """What tells a code object from another one that came to lie where it was; empty where there is none."""
    try:
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            found = _at(memory.fileno(), code, layout.instructions)
    except (OSError, ValueError, OverflowError):
        return b""
    # the reference count, which comes first, changes all the time
    parts = [found[layout.first_line : layout.first_line + 4]]
    return b"".join(parts + [found[at : at + 8] for at in (layout.filename, layout.qualname, layout.line_table)])


def place(pid: int, layout: Layout, code: int, instruction: int) -> Place | None:
    """What a code object of a process says of an instruction; None where it is gone or is none."""
    try:
        with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
            head = _at(memory.fileno(), code, layout.instructions)
            (first,) = struct.unpack_from("<i", head, layout.first_line)
            names = [struct.unpack_from("<Q", head, at)[0] for at in (layout.filename, layout.qualname)]
            (table,) = struct.unpack_from("<Q", head, layout.line_table)
            file, function = (_text(memory.fileno(), layout, at) for at in names)
            lines = _octets(memory.fileno(), table)
    except (OSError, struct.error, ValueError, OverflowError):
        return None
    return Place(file, line_of(lines, first, instruction - code - layout.instructions), function)


def line_of(table: bytes, first: int, offset: int) -> int:
    """The line of the instruction at a byte offset (CPython Objects/locations.md), 0 where there is none."""
    line, at, place_in_code = first, 0, 0
    while at < len(table):
        code, length = table[at] >> 3 & 15, (table[at] & 7) + 1
        delta = _delta(table, at, code)
        line += delta or 0
        place_in_code += 2 * length
        if offset < place_in_code:
            return 0 if delta is None else line
        at += 1
        while at < len(table) and not table[at] & 0x80:
            at += 1
    return 0


def _delta(table: bytes, at: int, code: int) -> int | None:
    """Lines that an entry moves on; None for an entry that has no line."""
    if code == 15:
        return None
    if code in (13, 14):
        return _signed(table, at + 1)
    return code - 10 if code >= 10 else 0


def _signed(table: bytes, at: int) -> int:
    value, shift = 0, 0
    while at < len(table) and shift < 35:
        value |= (table[at] & 63) << shift
        if not table[at] & 64:
            break
        shift, at = shift + 6, at + 1
    return -(value >> 1) if value & 1 else value >> 1


def _at(descriptor: int, address: int, size: int) -> bytes:
    data = os.pread(descriptor, size, address)
    if len(data) != size:
        raise ValueError("not mapped")
    return data


def _text(descriptor: int, layout: Layout, address: int) -> str:
    """A compact `str`: ASCII, or 1, 2 or 4 bytes a character."""
    head = _at(descriptor, address, layout.ascii_data)
    length, state = struct.unpack_from("<q", head, 16)[0], struct.unpack_from("<I", head, 32)[0]
    width, ascii_only = state >> 2 & 7, state >> 6 & 1
    if not 0 <= length <= _MOST_TEXT or width not in (1, 2, 4):
        raise ValueError("no text")
    data = _at(descriptor, address + (layout.ascii_data if ascii_only else layout.compact_data), length * width)
    return data.decode({1: "latin-1", 2: "utf-16-le", 4: "utf-32-le"}[width], "replace")


def _octets(descriptor: int, address: int) -> bytes:
    (size,) = struct.unpack("<q", _at(descriptor, address + 16, 8))
    if not 0 <= size <= _MOST_LINES:
        raise ValueError("no bytes")
    return _at(descriptor, address + 32, size)
