"""Which ports a group of processes listens on, and whether anyone is connected to them; read from /proc."""

from __future__ import annotations

import os
from pathlib import Path

_LISTEN, _ESTABLISHED = "0A", {"01", "04", "05", "06", "08"}


def listening_ports(group: int) -> set[int]:
    """TCP ports on which a process of this process group (or of a session below it) listens."""
    inodes = {inode for pid in members(group) for inode in _sockets(pid)}
    return {port for port, state, inode in _table() if state == _LISTEN and inode in inodes}


def listener(group: int) -> int | None:
    """The process of a group that listens, the eldest where workers share its socket; None where none does."""
    inodes = {inode for _, state, inode in _table() if state == _LISTEN}
    return min((pid for pid in members(group) if _sockets(pid) & inodes), default=None)


def members(group: int) -> list[int]:
    """The processes of a group and their descendants, whatever group those moved to."""
    parents: dict[int, tuple[int, int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            stat = _read(Path(entry.path) / "stat").rpartition(")")[2].split()
            if len(stat) > 2:
                parents[int(entry.name)] = (int(stat[1]), int(stat[2]))
    found = {pid for pid, (_, own) in parents.items() if own == group}
    while more := {pid for pid, (parent, _) in parents.items() if parent in found} - found:
        found |= more
    return sorted(found)


def connected(ports: set[int]) -> bool:
    """Whether a connection to one of these ports is open, or was until a moment ago."""
    return any(port in ports and state in _ESTABLISHED for port, state, _ in _table())


def _table() -> list[tuple[int, str, str]]:
    """(local port, state, inode) of every TCP socket in this network namespace."""
    rows = []
    for name in ("tcp", "tcp6"):
        for line in _read(Path("/proc/net") / name).splitlines()[1:]:
            columns = line.split()
            if len(columns) > 9:
                rows.append((int(columns[1].rpartition(":")[2], 16), columns[3], columns[9]))
    return rows


def _sockets(pid: int) -> set[str]:
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            links = [_link(entry.path) for entry in entries]
    except OSError:  # the process ended, or is another user's
        return set()
    return {link[8:-1] for link in links if link.startswith("socket:[")}


def _link(path: str) -> str:
    """What a descriptor is; empty where it was closed meanwhile."""
    try:
        return str(Path(path).readlink())
    except OSError:
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
