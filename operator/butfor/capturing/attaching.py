"""A process that runs already, watched from outside: nothing is put into it, and it is never stopped."""

from __future__ import annotations

import os
import select
from pathlib import Path

from butfor.capturing.commands import Command
from butfor.capturing.observing import Observer
from butfor.errors import UserError


class Attached:
    """Stands where a started command would; ends when the process does."""

    def __init__(self, pid: int, observer: Observer) -> None:
        self._observer, self.group = observer, pid
        try:
            self._descriptor = os.pidfd_open(pid)
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]
        except (OSError, OverflowError) as error:
            raise UserError(f"there is no process {pid} to look at; give the pid of one that runs") from error
        self.command = Command([os.fsdecode(argument) for argument in arguments])

    @staticmethod
    def directory(pid: int) -> Path:
        """Where the process runs; our own folder where that cannot be seen from here."""
        try:
            found = Path(f"/proc/{pid}/cwd").readlink()
        except OSError:
            return Path.cwd()
        return found if found.is_dir() else Path.cwd()

    def start(self) -> None:
        """Watch it and all that it has started."""
        self._observer.attach(self.group)
        if self._observer.reason:
            raise UserError(f"process {self.group} cannot be watched: {self._observer.reason}; see butfor doctor")

    def ended(self) -> int | None:
        """0 once it has ended (its exit code is its parent's to know), else None."""
        return 0 if select.select([self._descriptor], [], [], 0)[0] else None

    def edge_failed(self) -> bool:
        """There is none."""
        return False

    def forward(self, number: int) -> None:
        """Signals that are sent to us are not for it."""

    def stop(self, first: int = 0) -> int:  # noqa: ARG002 - as a started command's
        """Look at it no more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        return 0
