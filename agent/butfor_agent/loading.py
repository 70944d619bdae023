"""Reads, loads and attaches probes. A probe that is refused says so alone; the others stay."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from butfor_agent.libbpf import BpfError, Library, library


class KernelMap:
    """A map by its descriptor: keys and values are bytes of the sizes it was made with."""

    def __init__(self, descriptor: int, key_size: int, value_size: int, entries: int) -> None:
        self.descriptor = descriptor
        self.key_size, self.value_size, self.entries = key_size, value_size, entries

    def update(self, key: bytes, value: bytes) -> None:
        """Insert or replace."""
        lib = library()
        lib.checked("map update", lib.bpf_map_update_elem(self.descriptor, key, value, 0))

    def delete(self, key: bytes) -> bool:
        """Whether the key was there."""
        return bool(library().bpf_map_delete_elem(self.descriptor, key) == 0)

    def lookup(self, key: bytes, size: int | None = None) -> bytes | None:
        """The value (`size` bytes for per-CPU maps), None where there is none."""
        value = ctypes.create_string_buffer(size or self.value_size)
        return value.raw if library().bpf_map_lookup_elem(self.descriptor, key, value) == 0 else None

    def per_cpu_counts(self) -> list[int]:
        """The sum over CPUs of each entry of a per-CPU array of u64."""
        cpus = library().libbpf_num_possible_cpus()
        rows = (self.lookup(struct.pack("=I", index), cpus * 8) for index in range(self.entries))
        return [sum(struct.unpack(f"={cpus}Q", row)) if row else 0 for row in rows]


@dataclass
class Probe:
    """One object that is loaded: its maps, its programs, its links."""

    name: str
    handle: int
    maps: dict[str, KernelMap]
    programs: dict[str, int]
    links: list[int] = field(default_factory=list)

    def attach(self) -> None:
        """Attach every program by its section; raises BpfError, and then nothing of this probe stays attached."""
        lib = library()
        try:
            for name, program in self.programs.items():
                self.links.append(lib.checked(f"{self.name}/{name}", lib.bpf_program__attach(program)))
        except BpfError as error:
            self.detach()
            raise BpfError(str(error), error.log, program=name, reason=error.reason) from error

    def attach_at(self, binary: Path, offset: int) -> None:
        """Attach every program to a place in a file, in all processes that map it; raises BpfError."""
        lib = library()
        for name, program in self.programs.items():
            link = lib.bpf_program__attach_uprobe(program, False, -1, str(binary).encode(), offset)
            self.links.append(lib.checked(f"{self.name}/{name}", link))

    def detach(self) -> None:
        """Take the programs off; the maps stay readable."""
        while self.links:
            library().bpf_link__destroy(self.links.pop())

    def close(self) -> None:
        """Detach and free."""
        self.detach()
        if self.handle:
            library().bpf_object__close(self.handle)
            self.handle = 0


def load(
    path: Path,
    shared: Mapping[str, KernelMap],
    constants: Mapping[str, bytes],
    sizes: Mapping[str, int],
    pick: Callable[[Mapping[str, str]], Collection[str]] | None = None,
) -> Probe:
    """Open, set `const volatile` values, share the maps that others made first, load; raises BpfError.

    `pick` is given the names of the programs with their sections and says which to load: all where it is not given.
    """
    lib = library()
    lib.log.clear()
    handle = lib.checked(f"{path.name} cannot be opened", lib.bpf_object__open_file(str(path).encode(), None))
    try:
        programs = _picked(lib, handle, pick)
        for entry in _maps(lib, handle):
            _prepare_map(lib, entry, shared, sizes)
        _set_constants(lib, handle, path, constants)
        lib.checked(path.name, lib.bpf_object__load(handle))
    except BpfError:
        lib.bpf_object__close(handle)
        raise
    maps = {lib.bpf_map__name(entry).decode(): _kernel_map(lib, entry) for entry in _maps(lib, handle)}
    return Probe(path.name.removesuffix(".bpf.o"), handle, maps, programs)


def _walk(next_of: object, handle: int) -> Iterator[int]:
    current = next_of(handle, None)  # type: ignore[operator]
    while current:
        yield current
        current = next_of(handle, current)  # type: ignore[operator]


def _maps(lib: Library, handle: int) -> list[int]:
    return list(_walk(lib.bpf_object__next_map, handle))


def _programs(lib: Library, handle: int) -> list[int]:
    return list(_walk(lib.bpf_object__next_program, handle))


def _picked(lib: Library, handle: int, pick: Callable[[Mapping[str, str]], Collection[str]] | None) -> dict[str, int]:
    programs = {lib.bpf_program__name(one).decode(): one for one in _programs(lib, handle)}
    if pick is None:
        return programs
    names = pick({name: lib.bpf_program__section_name(one).decode() for name, one in programs.items()})
    for name, one in programs.items():
        lib.checked(name, lib.bpf_program__set_autoload(one, name in names))
    return {name: one for name, one in programs.items() if name in names}


def _prepare_map(lib: Library, entry: int, shared: Mapping[str, KernelMap], sizes: Mapping[str, int]) -> None:
    name = lib.bpf_map__name(entry).decode()
    if name in shared:
        lib.checked(f"map {name}", lib.bpf_map__reuse_fd(entry, shared[name].descriptor))
    elif name in sizes:
        lib.checked(f"map {name}", lib.bpf_map__set_max_entries(entry, sizes[name]))


def _kernel_map(lib: Library, entry: int) -> KernelMap:
    sizes = lib.bpf_map__key_size(entry), lib.bpf_map__value_size(entry), lib.bpf_map__max_entries(entry)
    return KernelMap(lib.bpf_map__fd(entry), *sizes)


def _set_constants(lib: Library, handle: int, path: Path, constants: Mapping[str, bytes]) -> None:
    places = _places(path)
    for entry in _maps(lib, handle):
        if not lib.bpf_map__name(entry).decode().endswith(".rodata"):
            continue
        size = ctypes.c_size_t()
        memory = lib.bpf_map__initial_value(entry, ctypes.byref(size))
        for name, value in constants.items():
            if name in places:
                at, length = places[name]
                ctypes.memmove(memory + at, value[:length], min(len(value), length))


def _places(path: Path) -> dict[str, tuple[int, int]]:
    """Offset and size of every symbol in `.rodata`."""
    with path.open("rb") as stream:
        elf = ELFFile(stream)
        index, table = elf.get_section_index(".rodata"), elf.get_section_by_name(".symtab")
        if index is None or table is None:
            return {}
        symbols = table.iter_symbols() if isinstance(table, SymbolTableSection) else ()
        return {s.name: (s["st_value"], s["st_size"]) for s in symbols if s["st_shndx"] == index}
