"""Who the watched processes are: asked of /proc when they are first seen, because they may be gone soon."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

SCHEMA = pa.schema(
    [
        ("pid", pa.int64()),
        ("inner_pid", pa.int64()),
        ("parent", pa.int64()),
        ("started_ns", pa.int64()),  # CLOCK_BOOTTIME
        ("executable", pa.string()),
        ("command", pa.list_(pa.string())),
        ("service", pa.string()),  # BUTFOR_SERVICE of its environment, empty where it has none
        ("cgroup", pa.string()),
        ("container", pa.string()),  # container id, empty outside
        ("context", pa.string()),  # how its span context is found, or why not
        ("exit_ns", pa.int64()),  # null while it runs
        ("exit_code", pa.int32()),
        ("exit_signal", pa.int32()),
    ]
)
NOT_PUBLISHED = "not published"
_CONTAINER = re.compile(r"([0-9a-f]{64})(?:\.scope)?$")
_MOST = 64 * 1024


@dataclass
class Process:
    """One process; a program that replaces another keeps its row, with what it is now."""

    pid: int
    inner_pid: int
    started_ns: int
    parent: int = 0
    executable: str = ""
    command: tuple[str, ...] = ()
    service: str = ""
    cgroup: str = ""
    container: str = ""
    context: str = NOT_PUBLISHED
    exit_ns: int | None = None
    exit_code: int | None = None
    exit_signal: int | None = None

    def copy(self) -> Process:
        """As it is now."""
        return replace(self)

    def child(self, pid: int) -> Process:
        """What a fork makes of it: the same program in another process, until it says otherwise."""
        return replace(self, pid=pid, inner_pid=0, started_ns=0, parent=self.pid)

    def became(self, program: str) -> None:
        """Another program: what the kernel said, and what /proc says if it is still there."""
        self.executable, self.command, self.context = program, (program,), NOT_PUBLISHED
        self.look()

    def look(self) -> None:
        """Read what /proc says now; what cannot be read stays as it was."""
        folder = Path(f"/proc/{self.pid}")
        arguments = _read(folder / "cmdline")
        if arguments:
            self.command = tuple(part.decode("utf-8", "replace") for part in arguments.rstrip(b"\0").split(b"\0"))
        try:
            self.executable = str((folder / "exe").readlink())
        except OSError:
            self.executable = self.executable or (self.command[0] if self.command else "")
        self.cgroup = _cgroup(_read(folder / "cgroup")) or self.cgroup
        found = _CONTAINER.search(self.cgroup)
        self.container = found.group(1) if found else ""
        self.service = _variable(_read(folder / "environ"), b"BUTFOR_SERVICE") or self.service

    def ended(self, status: int, at_ns: int) -> None:
        """`status` as wait() has it."""
        self.exit_ns, self.exit_code, self.exit_signal = at_ns, status >> 8 & 0xFF, status & 0x7F


def table(processes: list[Process]) -> pa.Table:
    """`processes.arrow`."""
    return pa.Table.from_pylist([_row(one) for one in processes], schema=SCHEMA)


def _row(one: Process) -> dict[str, object]:
    return {**vars(one), "command": list(one.command)}


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST)
    except OSError:
        return b""


def _cgroup(text: bytes) -> str:
    """The unified hierarchy's path, else the longest of the older ones."""
    lines = [line.split(":", 2) for line in text.decode("utf-8", "replace").splitlines() if line.count(":") >= 2]
    unified = [path for number, _, path in lines if number == "0"]
    return unified[0] if unified else max((path for _, _, path in lines), key=len, default="")


def _variable(environment: bytes, name: bytes) -> str:
    for entry in environment.split(b"\0"):
        if entry.startswith(name + b"="):
            return entry[len(name) + 1 :].decode("utf-8", "replace")[:200]
    return ""
