"""Private copies of the trees under test, begun before the player itself is loaded: they take about as long.

Imports nothing but `os`, for the same reason.
"""

from __future__ import annotations

import os

VARIABLE = "PLAY_COPIES"
"""One line for each service: its name, $DATA, its worktree and the trees to copy there, between tabs."""
_COPY = """\
mkdir -p "$1" && worktree=$2 && shift 2 || exit
for tree; do cp -a --no-preserve=timestamps,ownership "$tree/." "$worktree" || exit; done
"""
NO_RIGHTS = ("--inh-caps=-all", "--ambient-caps=-all", "--")
begun: dict[str, tuple[int, int]] = {}
"""By service: the copying process, and the pipe on which it complains."""


def become() -> list[str]:
    """The command that becomes the user of foreign code, who cannot touch our record; [] where we are that user."""
    user = os.environ.get("SANDBOX_USER")
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *NO_RIGHTS] if user else []


def begin() -> None:
    """Begin those that the environment names."""
    for line in os.environ.get(VARIABLE, "").splitlines():
        name, data, worktree, *trees = line.split("\t")
        copy(name, data, worktree, trees)


def copy(name: str, data: str, worktree: str, trees: list[str]) -> None:
    """Begin a writable copy with fresh file times, and an empty $DATA."""
    reads, complains = os.pipe()
    command = [*become(), "sh", "-c", _COPY, "copy", data, worktree, *trees]
    actions = [(os.POSIX_SPAWN_DUP2, complains, 2)]
    try:
        begun[name] = os.posix_spawnp(command[0], command, os.environ, file_actions=actions), reads
    finally:
        os.close(complains)


def finish(name: str) -> str:
    """Wait for a copy; why it failed, or empty."""
    process, reads = begun.pop(name)
    with os.fdopen(reads, "rb") as complaints:
        said = complaints.read(4096).decode("utf-8", "replace").strip()
    _, status = os.waitpid(process, 0)
    return (said[:300] or "it was ended") if status else ""
