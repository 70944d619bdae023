"""Watching a process that runs foreign code: deadline, memory of all it started, size of what it writes."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

_GIB = 1 << 30
_PAGE = os.sysconf("SC_PAGESIZE")
_TICK_S = 0.5


@dataclass(frozen=True)
class Limits:
    """What a run may use. `memory_bytes` bounds each process and the sum of all of them.

    `file_bytes` bounds one file, `output_bytes` all files in writable host folders, `scratch_bytes` each
    folder in memory, `processes` processes and threads together.
    """

    seconds: float = 300.0
    memory_bytes: int = 4 * _GIB
    processes: int = 512
    file_bytes: int = _GIB
    output_bytes: int = 4 * _GIB
    scratch_bytes: int = 2 * _GIB

    def prlimit_arguments(self) -> list[str]:
        """The limits that the kernel keeps, as arguments of `prlimit`; CPU time is that of eight full cores."""
        cpu = max(int(self.seconds * 8), 1)
        return [
            f"--nproc={self.processes}", f"--data={self.memory_bytes}", f"--fsize={self.file_bytes}",
            f"--cpu={cpu}", "--core=0", "--nofile=8192",
        ]  # fmt: skip


@dataclass(frozen=True)
class Exit:
    """How a run ended. `code` is the exit code, 128 + n for signal n; `cut` names the limit that ended it."""

    code: int
    seconds: float
    cut: Literal["deadline", "memory", "output"] | None = None


def watch(process: subprocess.Popen[bytes], limits: Limits, writable: Sequence[Path]) -> Exit:
    """Wait for the end; kill the session at the deadline or over a limit, also when the caller is interrupted.

    Killing bubblewrap ends its pid namespace, and so everything in it.
    """
    start = time.monotonic()
    cut: Literal["deadline", "memory", "output"] | None = None
    try:
        cut = _wait(process, limits, writable, start)
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    return Exit(code if code >= 0 else 128 - code, time.monotonic() - start, cut)


def _wait(
    process: subprocess.Popen[bytes], limits: Limits, writable: Sequence[Path], start: float
) -> Literal["deadline", "memory", "output"] | None:
    descriptor = os.pidfd_open(process.pid)
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        for tick in range(1 << 62):
            left = start + limits.seconds - time.monotonic()
            if left <= 0:
                return "deadline"
            if poller.poll(min(left, _TICK_S) * 1000 + 1):
                process.wait()
                return None
            if memory_of(process.pid) > limits.memory_bytes:
                return "memory"
            if tick % 4 == 3 and size_of(writable) > limits.output_bytes:
                return "output"
    finally:
        os.close(descriptor)
    return None


def memory_of(root: int) -> int:
    """Bytes that the process `root` and all its descendants hold for themselves (resident less shared)."""
    children = _children()
    total, waiting = 0, [root]
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, [])
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{pid}/statm").read_text().split()
            total += (int(fields[1]) - int(fields[2])) * _PAGE
    return total


def _children() -> dict[int, list[int]]:
    """Child process ids per process id, of the whole machine (`/proc/*/task/*/children` is not in each kernel)."""
    found: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            with contextlib.suppress(OSError, ValueError, IndexError):
                parent = int((folder / "stat").read_bytes().rpartition(b")")[2].split()[1])
                found.setdefault(parent, []).append(int(folder.name))
    return found


def size_of(folders: Sequence[Path]) -> int:
    """Bytes of all regular files below `folders`; links are not followed."""
    total = 0
    for folder in folders:
        for parent, _, names in os.walk(folder):
            for name in names:
                with contextlib.suppress(OSError):
                    total += Path(parent, name).lstat().st_size
    return total
