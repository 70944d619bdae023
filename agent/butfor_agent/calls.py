"""Which system call means what: its number on this architecture, and the kind that the probes know it by.

Numbers: Linux arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
"""

from __future__ import annotations

import platform

X86_64 = {
    "read": 0, "write": 1, "close": 3, "poll": 7, "mmap": 9, "pread64": 17, "pwrite64": 18, "readv": 19, "writev": 20,
    "select": 23, "mremap": 25, "dup": 32, "socket": 41, "connect": 42, "accept": 43, "sendto": 44, "recvfrom": 45,
    "sendmsg": 46, "recvmsg": 47, "shutdown": 48, "bind": 49, "listen": 50, "getsockopt": 55, "clone": 56, "fork": 57,
    "vfork": 58, "execve": 59, "flock": 73, "fsync": 74, "fdatasync": 75, "ftruncate": 77, "rename": 82, "mkdir": 83,
    "unlink": 87, "prctl": 157, "futex": 202, "epoll_wait": 232, "openat": 257, "mkdirat": 258, "unlinkat": 263,
    "pselect6": 270, "ppoll": 271, "epoll_pwait": 281, "fallocate": 285, "accept4": 288, "eventfd2": 290,
    "epoll_create1": 291, "pipe2": 293, "preadv": 295, "pwritev": 296, "recvmmsg": 299, "sendmmsg": 307,
    "renameat2": 316, "clone3": 435,
    "openat2": 437, "epoll_pwait2": 441,
}  # fmt: skip
ARM64 = {
    "dup": 23, "flock": 32, "mkdirat": 34, "unlinkat": 35, "ftruncate": 46, "fallocate": 47, "openat": 56, "close": 57,
    "pipe2": 59, "read": 63, "write": 64, "readv": 65, "writev": 66, "pread64": 67, "pwrite64": 68, "preadv": 69,
    "pwritev": 70, "pselect6": 72, "ppoll": 73, "fsync": 82, "fdatasync": 83, "futex": 98, "eventfd2": 19,
    "epoll_create1": 20, "epoll_pwait": 22, "socket": 198, "bind": 200, "listen": 201, "accept": 202, "connect": 203,
    "sendto": 206, "recvfrom": 207, "prctl": 167, "getsockopt": 209, "shutdown": 210, "sendmsg": 211, "recvmsg": 212,
    "mremap": 216, "clone": 220, "execve": 221, "mmap": 222, "accept4": 242, "recvmmsg": 243, "sendmmsg": 269,
    "renameat2": 276,
    "clone3": 435, "openat2": 437, "epoll_pwait2": 441,
}  # fmt: skip
KINDS = {
    "KIND_CONNECT": ["connect"],
    "KIND_ACCEPT": ["accept", "accept4"],
    "KIND_READ": ["read", "readv", "pread64", "preadv"],
    "KIND_WRITE": ["write", "writev", "pwrite64", "pwritev"],
    "KIND_SEND": ["sendto", "sendmsg", "sendmmsg"],
    "KIND_RECV": ["recvfrom", "recvmsg", "recvmmsg"],
    "KIND_OPEN": ["openat", "openat2"],
    "KIND_CLOSE": ["close"],
    "KIND_FSYNC": ["fsync", "fdatasync"],
    "KIND_SO_ERROR": ["getsockopt"],
    "KIND_WAIT": ["poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait", "epoll_pwait2"],
    "KIND_CONTEXT_PUBLISHED": ["prctl"],
    "KIND_OTHER_CALL": [
        "mmap", "mremap", "dup", "socket", "bind", "listen", "clone", "clone3", "fork", "vfork", "execve", "flock",
        "ftruncate", "fallocate", "rename", "renameat2", "mkdir", "mkdirat", "unlink", "unlinkat", "eventfd2",
        "epoll_create1", "pipe2", "shutdown",
    ],
}  # fmt: skip
TABLE_SIZE = 512


def numbers() -> dict[str, int]:
    """System call numbers of this machine by name."""
    return ARM64 if platform.machine() == "aarch64" else X86_64


def kind_table(kinds: dict[str, int]) -> bytes:
    """The probes' `call_kinds`: one byte per system call number."""
    table = bytearray(TABLE_SIZE)
    known = numbers()
    for kind, calls in KINDS.items():
        for call in calls:
            if call in known:
                table[known[call]] = kinds[kind]
    return bytes(table)


def name_of(number: int) -> str:
    """The call's name, its number as text where it is not in the table."""
    return _names().get(number, str(number))


def _names() -> dict[int, str]:
    return {number: name for name, number in numbers().items()}
