"""Starting a program in a session of its own. Imports nothing but `os`: loading `subprocess` delays every start."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_SIGPIPE, _SIGXFSZ = 13, 25
"""What an interpreter ignores, and a program that it starts should not."""


class Process:
    """A started program. `returncode` is None while it runs, negative for the signal that ended it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit code, or None while it runs."""
        return self._wait(os.WNOHANG)

    def wait(self, seconds: float | None = None) -> int:
        """Its exit code, once it has ended; TimeoutError if that takes longer."""
        if seconds is not None and self.returncode is None:
            import select

            descriptor = os.pidfd_open(self.pid)
            try:
                if not select.select([descriptor], [], [], seconds)[0]:
                    raise TimeoutError
            finally:
                os.close(descriptor)
        code = self._wait(0)
        assert code is not None
        return code

    def _wait(self, options: int) -> int | None:
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, options)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


def spawn(command: list[str], log: str, *, environment: Mapping[str, str] | None = None, folder: str = ".") -> Process:
    """Start `command` in `folder`, what it says appended to `log`. Raises OSError where it cannot be started."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, log, flags, 0o666),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    before = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.chdir(folder)
        pid = os.posix_spawnp(
            command[0], command, os.environ if environment is None else environment, file_actions=actions,
            setsid=True, setsigdef=(_SIGPIPE, _SIGXFSZ),
        )  # fmt: skip
    finally:
        os.fchdir(before)
        os.close(before)
    return Process(pid)
