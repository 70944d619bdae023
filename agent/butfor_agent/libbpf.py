"""The library libbpf.so.1 through ctypes: prototypes, its log, and errors as one line. Nothing here knows a probe."""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import os
import re
from collections.abc import Callable
from functools import cache
from typing import Any

_POINTER = ctypes.c_void_p
_PRINT = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, _POINTER)
_PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "bpf_object__open_file": (_POINTER, [ctypes.c_char_p, _POINTER]),
    "bpf_object__load": (ctypes.c_int, [_POINTER]),
    "bpf_object__close": (None, [_POINTER]),
    "bpf_object__next_map": (_POINTER, [_POINTER, _POINTER]),
    "bpf_object__next_program": (_POINTER, [_POINTER, _POINTER]),
    "bpf_map__name": (ctypes.c_char_p, [_POINTER]),
    "bpf_map__fd": (ctypes.c_int, [_POINTER]),
    "bpf_map__reuse_fd": (ctypes.c_int, [_POINTER, ctypes.c_int]),
    "bpf_map__set_max_entries": (ctypes.c_int, [_POINTER, ctypes.c_uint32]),
    "bpf_map__max_entries": (ctypes.c_uint32, [_POINTER]),
    "bpf_map__key_size": (ctypes.c_uint32, [_POINTER]),
    "bpf_map__value_size": (ctypes.c_uint32, [_POINTER]),
    "bpf_map__initial_value": (_POINTER, [_POINTER, ctypes.POINTER(ctypes.c_size_t)]),
    "bpf_program__name": (ctypes.c_char_p, [_POINTER]),
    "bpf_program__section_name": (ctypes.c_char_p, [_POINTER]),
    "bpf_program__set_autoload": (ctypes.c_int, [_POINTER, ctypes.c_bool]),
    "bpf_program__fd": (ctypes.c_int, [_POINTER]),
    "bpf_program__attach": (_POINTER, [_POINTER]),
    "bpf_program__attach_uprobe": (_POINTER, [_POINTER, ctypes.c_bool, ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t]),
    "bpf_link__destroy": (ctypes.c_int, [_POINTER]),
    "bpf_map_update_elem": (ctypes.c_int, [ctypes.c_int, _POINTER, _POINTER, ctypes.c_uint64]),
    "bpf_map_lookup_elem": (ctypes.c_int, [ctypes.c_int, _POINTER, _POINTER]),
    "bpf_map_delete_elem": (ctypes.c_int, [ctypes.c_int, _POINTER]),
    "bpf_prog_load": (
        ctypes.c_int,
        [ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t, _POINTER],
    ),
    "bpf_raw_tracepoint_open": (ctypes.c_int, [ctypes.c_char_p, ctypes.c_int]),
    "libbpf_find_vmlinux_btf_id": (ctypes.c_int, [ctypes.c_char_p, ctypes.c_int]),
    "libbpf_version_string": (ctypes.c_char_p, []),
    "bpf_obj_get_info_by_fd": (ctypes.c_int, [ctypes.c_int, _POINTER, ctypes.POINTER(ctypes.c_uint32)]),
    "bpf_enable_stats": (ctypes.c_int, [ctypes.c_int]),
    "libbpf_num_possible_cpus": (ctypes.c_int, []),
    "libbpf_set_print": (_POINTER, [_PRINT]),
}


class BpfError(Exception):
    """The kernel or libbpf refused; the message is one line, `log` is all that they said.

    `program` is the one that was refused, empty where it was not one alone; `reason` is the message without the what.
    """

    def __init__(self, message: str, log: str = "", *, program: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.log, self.program, self.reason = log, program, reason or message


class Library:
    """The loaded library; `log` holds what it printed since the last call of `fresh_log`."""

    def __init__(self, handle: ctypes.CDLL) -> None:
        self._handle = handle
        self.log: list[str] = []
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(handle, name)
            function.restype, function.argtypes = result, arguments
        self._print = _PRINT(self._printed)
        handle.libbpf_set_print(self._print)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in _PROTOTYPES:
            raise AttributeError(name)
        function: Callable[..., Any] = getattr(self._handle, name)
        return function

    def _printed(self, level: int, template: bytes, arguments: int) -> int:
        # levels: 0 warning, 1 information, 2 debugging; va_list is formatted by libc
        if level <= 1:
            buffer = ctypes.create_string_buffer(256 * 1024)
            _libc().vsnprintf(buffer, len(buffer), template, ctypes.c_void_p(arguments))
            self.log.append(buffer.value.decode("utf-8", "replace"))
        return 0

    def checked(self, what: str, result: int | None) -> int:
        """The result of a call that returns NULL or a negative number when it fails; else raises BpfError."""
        if result is None or result < 0:
            code = ctypes.get_errno() or (-result if result else 0)
            log, self.log = "".join(self.log), []
            reason = _reason(log, code)
            raise BpfError(f"{what}: {reason}", log, program=_refused(log), reason=reason)
        return result


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None)


@cache
def library() -> Library:
    """Libbpf 1.x of this machine; raises BpfError that says what to install."""
    try:
        return Library(ctypes.CDLL("libbpf.so.1", use_errno=True))
    except (OSError, AttributeError) as error:
        raise BpfError("libbpf.so.1 cannot be loaded; install the package libbpf1") from error


def _reason(log: str, code: int) -> str:
    """The verifier's own last word where there is one, else the error's name."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    for place, line in enumerate(lines):
        if re.match(r"processed \d+ insns", line) and place:
            return f"the verifier refused it: {lines[place - 1][:200]}"
    name = errno.errorcode.get(code, str(code))
    return f"{name} ({os.strerror(code)})" if code else "refused without a reason"


def _refused(log: str) -> str:
    """The program that libbpf complained of last."""
    named = re.findall(r"^libbpf: prog '(\w+)'", log, re.MULTILINE)
    return named[-1] if named else ""
