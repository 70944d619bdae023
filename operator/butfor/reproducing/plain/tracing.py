"""What strace sees of the calls that failed in a service: standard library only, for whoever has no agent.

A failure that only the kernel sees is looked for in the time that each request took. Requests that overlap cannot be
told apart so, and what strace does not see (a wait for a lock) is not known.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

Json = dict[str, Any]
CALLS = {
    "accept4": "accept", "readv": "read", "pread64": "read", "preadv": "read", "writev": "write", "pwrite64": "write",
    "pwritev": "write", "sendto": "send", "sendmsg": "send", "sendmmsg": "send", "recvfrom": "recv", "recvmsg": "recv",
    "recvmmsg": "recv", "openat": "open", "openat2": "open", "fdatasync": "fsync",
}  # fmt: skip
"""Kinds of calls, where they are not the call's own name."""
UNSEEN = frozenset({"off_cpu", "abandon", "oom_kill", "reset_received", "reset_sent", "retransmit", "tcp_state"})
LIMIT = 256 * 1024 * 1024
_CALL = re.compile(rb"^\d+ +(\d+)\.(\d+) (?:<\.\.\. )?(\w+)(?: resumed>|\().* = -1 (E[A-Z0-9]+) \([^()]*\)$")
_OPTION = re.compile(rb"^\d+ +(\d+)\.(\d+) .*SO_ERROR, \[(E[A-Z0-9]+)\], \[\d+\]\) = 0$")
_DEATH = re.compile(rb"^\d+ +(\d+)\.(\d+) \+\+\+ killed by (SIG[A-Z0-9]+)")


def traced(run: str, log: Path) -> str | None:
    """Return the run script under strace, which writes to `log`; None where there is no strace."""
    strace = shutil.which("strace")
    if strace is None:
        return None
    return "exec " + shlex.join([strace, "-f", "-ttt", "-o", str(log), "bash", "-e", "-o", "pipefail", "-c", run])


def failures(log: Path) -> list[tuple[int, str, str]]:
    """Return time (Unix nanoseconds), kind and errno or signal of what failed; nothing where there is no log."""
    if not log.is_file() or log.is_symlink():
        return []
    found = []
    with log.open("rb") as file:
        for line in file.read(LIMIT).splitlines():
            if call := _CALL.match(line):
                name = call[3].decode()
                found.append((_time(call), CALLS.get(name, name), call[4].decode()))
            elif option := _OPTION.match(line):
                found.append((_time(option), "connect", option[3].decode()))
            elif death := _DEATH.match(line):
                found.append((_time(death), "signal", death[3].decode()))
    return found


def _time(found: re.Match[bytes]) -> int:
    return int(found[1]) * 1_000_000_000 + int(found[2].ljust(9, b"0")[:9])


def seen(answers: list[Json], wanted: list[Json], log: Path | None) -> list[list[Json] | None]:
    """Return per answer which of the wanted failures it shows; None where that cannot be told."""
    if log is None or not log.is_file() or any(one["kind"] in UNSEEN for one in wanted):
        return [None] * len(answers)
    failed = failures(log)
    times = [(one["start_ns"], one["start_ns"] + int(one["seconds"] * 1e9)) for one in answers]
    alone = [not any(_overlap(one, other) for other in times if other is not one) for one in times]
    return [
        [one for one in wanted if any(first <= at <= last and _is(one, *how) for at, *how in failed)]
        if single
        else None
        for (first, last), single in zip(times, alone, strict=True)
    ]


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _is(wanted: Json, kind: str, errno: str) -> bool:
    return (wanted["kind"], wanted["errno"]) == (kind, errno)
