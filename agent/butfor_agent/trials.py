"""Which ways of attaching this kernel allows: each is really tried, with a program that does nothing, and taken back.

`python -m butfor_agent --try` prints {way: [state, why]} with the states `yes`, `no` and `unknown`.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import struct
from collections.abc import Callable
from pathlib import Path

from elftools.common.exceptions import ELFError
from elftools.elf.elffile import ELFFile

from butfor_agent.libbpf import BpfError, Library, library

Result = tuple[str, str]
# r0 = 0; exit
_NOTHING = struct.pack("<BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0)
_KPROBE, _TRACEPOINT, _PERF_EVENT, _RAW_TRACEPOINT, _TRACING = 2, 5, 7, 17, 26
_TP_BTF, _FENTRY = 23, 24
_SOFTWARE, _CPU_CLOCK = 1, 0
_PERF_TRACEPOINT = 2
_SET_BPF, _ENABLE = 0x40042408, 0x2400
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241}
_EVENT, _FUNCTION = "sched_process_exit", "do_exit"
_PMUS = Path("/sys/bus/event_source/devices")
_TRACEFS = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))


def tried() -> dict[str, Result]:
    """Every way, with what came of it."""
    ways: dict[str, Callable[[Library], None]] = {
        "raw_tracepoint": _raw_tracepoint, "tracepoint": _tracepoint, "tp_btf": _tp_btf, "kprobe": _kprobe,
        "fentry": _fentry, "uprobe": _uprobe, "perf": _perf,
    }  # fmt: skip
    return {name: _try(way) for name, way in ways.items()}


class Absent(Exception):  # noqa: N818 - an answer, not a defect
    """The kernel was built or set up without it."""


class Untried(Exception):  # noqa: N818 - an answer, not a defect
    """It cannot be tried here."""


def _try(way: Callable[[Library], None]) -> Result:
    if os.geteuid() != 0:
        return "unknown", "to try it needs root"
    try:
        way(library())
    except Untried as reason:
        return "unknown", str(reason)
    except (Absent, BpfError) as reason:
        return "no", str(reason)
    except OSError as error:
        return "no", f"{errno.errorcode.get(error.errno or 0, error.errno)} ({error.strerror})"
    return "yes", "tried"


class _Options(ctypes.Structure):
    """`struct bpf_prog_load_opts` of libbpf 1.x up to `attach_btf_obj_fd`; libbpf goes by `sz`."""

    _fields_ = [
        ("sz", ctypes.c_size_t), ("attempts", ctypes.c_int), ("expected_attach_type", ctypes.c_int),
        ("prog_btf_fd", ctypes.c_uint32), ("prog_flags", ctypes.c_uint32), ("prog_ifindex", ctypes.c_uint32),
        ("kern_version", ctypes.c_uint32), ("attach_btf_id", ctypes.c_uint32), ("attach_prog_fd", ctypes.c_uint32),
        ("attach_btf_obj_fd", ctypes.c_uint32), ("padding", ctypes.c_uint32),
    ]  # fmt: skip


def _loaded(lib: Library, kind: int, *, attach_type: int = 0, function: int = 0) -> int:
    """A program that does nothing; its descriptor."""
    options = _Options(
        sz=_Options.attach_btf_obj_fd.offset + 4, expected_attach_type=attach_type, attach_btf_id=function
    )
    return lib.checked(
        "a program that does nothing",
        lib.bpf_prog_load(kind, b"butfor_try", b"GPL", _NOTHING, len(_NOTHING) // 8, ctypes.byref(options)),
    )


def _closing(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _raw_tracepoint(lib: Library) -> None:
    program = _loaded(lib, _RAW_TRACEPOINT)
    try:
        _closing(lib.checked("attaching", lib.bpf_raw_tracepoint_open(_EVENT.encode(), program)))
    finally:
        _closing(program)


def _tp_btf(lib: Library) -> None:
    _through_types(lib, _EVENT, _TP_BTF)


def _fentry(lib: Library) -> None:
    _through_types(lib, _FUNCTION, _FENTRY)


def _through_types(lib: Library, name: str, attach_type: int) -> None:
    found = lib.checked(f"{name} in the kernel's BTF", lib.libbpf_find_vmlinux_btf_id(name.encode(), attach_type))
    program = _loaded(lib, _TRACING, attach_type=attach_type, function=found)
    try:
        _closing(lib.checked("attaching", lib.bpf_raw_tracepoint_open(None, program)))
    finally:
        _closing(program)


def _tracepoint(lib: Library) -> None:
    known = [path / "events/sched" / _EVENT / "id" for path in _TRACEFS]
    found = next((path for path in known if path.exists()), None)
    if found is None:
        raise Untried("tracefs is not mounted: mount -t tracefs tracefs /sys/kernel/tracing")
    _through_perf(lib, _TRACEPOINT, _attributes(_PERF_TRACEPOINT, int(found.read_text())))


def _kprobe(lib: Library) -> None:
    name = ctypes.create_string_buffer(_FUNCTION.encode())
    _through_perf(lib, _KPROBE, _attributes(_pmu("kprobe", "CONFIG_KPROBES"), 0, ctypes.addressof(name)), keep=name)


def _uprobe(lib: Library) -> None:
    path, offset = _own_entry()
    name = ctypes.create_string_buffer(str(path).encode())
    attributes = _attributes(_pmu("uprobe", "CONFIG_UPROBE_EVENTS"), 0, ctypes.addressof(name), offset)
    _through_perf(lib, _KPROBE, attributes, keep=name)


def _perf(lib: Library) -> None:
    _through_perf(lib, _PERF_EVENT, _attributes(_SOFTWARE, _CPU_CLOCK))


def _pmu(name: str, option: str) -> int:
    try:
        return int((_PMUS / name / "type").read_text())
    except (OSError, ValueError) as error:
        raise Absent(f"this kernel has none ({option} is not set)") from error


def _attributes(kind: int, config: int, first: int = 0, second: int = 0) -> ctypes.Array[ctypes.c_char]:
    """`struct perf_event_attr`: type, size, config, sample period; `config1` and `config2`."""
    period = 1_000_000_000 if kind == _SOFTWARE else 1
    head = struct.pack("=IIQQQQQIIQQ", kind, 112, config, period, 0, 0, 1, 0, 0, first, second)
    return ctypes.create_string_buffer(head, 112)


def _through_perf(lib: Library, kind: int, attributes: ctypes.Array[ctypes.c_char], *, keep: object = None) -> None:
    number = _PERF_EVENT_OPEN.get(platform.machine())
    if number is None:
        raise Untried(f"not known how on {platform.machine()}")
    event = ctypes.CDLL(None, use_errno=True).syscall(number, attributes, -1, 0, -1, 8)
    del keep  # what the attributes point at had to live until here
    if event < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    try:
        program = _loaded(lib, kind)
        try:
            fcntl.ioctl(event, _SET_BPF, program)
            fcntl.ioctl(event, _ENABLE, 0)
        finally:
            _closing(program)
    finally:
        _closing(event)


def _own_entry() -> tuple[Path, int]:
    """A place in our own program that nothing runs through any more: where it began."""
    path = Path("/proc/self/exe").resolve()
    try:
        with path.open("rb") as stream:
            elf = ELFFile(stream)
            entry = int(elf.header["e_entry"])
            for segment in elf.iter_segments("PT_LOAD"):
                if segment["p_vaddr"] <= entry < segment["p_vaddr"] + segment["p_filesz"]:
                    return path, int(entry - segment["p_vaddr"] + segment["p_offset"])
    except (OSError, ELFError) as error:
        raise Untried(f"{path} cannot be read") from error
    raise Untried(f"{path} has no entry")
