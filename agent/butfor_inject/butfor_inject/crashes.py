"""Where a process was when a signal ended it: the interpreter's own fault handler writes its threads' stacks.

`crash-*.txt` is empty as long as nothing crashed. Its first line may name the request that forked the process.
A service that uses the fault handler itself keeps it, and then nothing is written here.
"""

from __future__ import annotations

import faulthandler
import os

from butfor_inject.boundaries import attempt
from butfor_inject.contexts import current
from butfor_inject.spools import Spool
from butfor_inject.texts import members

_CLOEXEC = getattr(os, "O_CLOEXEC", 0)


class Crashes:
    """Begins with a process's first request, or with the fork that one made."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._file: int | None = None
        self._tried = False

    def start(self) -> None:
        """From now on a crash is written; a second call does nothing."""
        if not self._tried:
            self._tried = True
            attempt("crashes", self._start)

    def forked(self) -> None:
        """In a forked child, whose crash is not its parent's; before its request is forgotten."""
        exchange, self._tried = current.get(), False
        if self._file is None:
            return
        if exchange is None:
            self._write_to(os.open(os.devnull, os.O_WRONLY | _CLOEXEC))
        else:
            self._tried = True
            self._start()
            os.write(self._file, members({"traceId": exchange.ids[0], "spanId": exchange.ids[1]}).encode() + b"\n")

    def _start(self) -> None:
        if self._file is not None:
            self._write_to(self._spool.open("crash", "txt"))
        elif not faulthandler.is_enabled():
            self._file = self._spool.open("crash", "txt")
            faulthandler.enable(file=self._file, all_threads=True)  # without them it does not say which thread

    def _write_to(self, file: int) -> None:
        """The handler knows a number: told another one, it would forget a file that the service gave it since."""
        os.dup2(file, self._file, inheritable=False)  # type: ignore[arg-type]
        os.close(file)
