"""Progress for a person: the stage, the runs used and the time on one living line; plain lines where there is none."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.status import Status

QUIET_S = 30.0
"""In a pipe, where no line lives: how long a stage may say nothing."""


class Terminal:
    """Writes to standard error, so that standard output stays for results. Use it in `with`, or end with `done`."""

    def __init__(self, title: str, console: Console | None = None) -> None:
        self.title = title
        self.console = console or Console(stderr=True, highlight=False, soft_wrap=True)
        self.started = self._began = time.monotonic()
        self._stage, self._runs, self._before = "", 0, 0
        self._status: Status | None = None
        self._stages: dict[str, int] = {}
        self._stopped: threading.Event | None = None
        self.console.print(title, style="bold", markup=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.done()

    def stage(self, name: str) -> None:
        """A stage begins; going on with the one that just ended is no new line."""
        if name == self._stage and (self._status or self._stopped):
            return
        self._end()
        times = self._stages[name] = self._stages.get(name, 0) + 1
        self._stage, self._began, self._before = name, time.monotonic(), self._runs
        if not self.console.is_terminal:
            self.console.print(f"{self._elapsed()} {name}{f' ({times})' if times > 1 else ''}", markup=False)
            self._beat()
            return
        self._status = self.console.status(_Line(self))
        self._status.start()

    def note(self, text: str) -> None:
        """Something worth knowing happened in the stage."""
        self.console.print(f"{'':8} {text}", markup=False)

    def ran(self) -> None:
        """A tree was executed once more."""
        self._runs += 1

    def done(self) -> None:
        """The last stage ended; the line is left as it is."""
        self._end()
        self._stage = ""

    def now(self) -> str:
        """The living line: what is going on, for how long, and how many runs were used so far."""
        runs = f", {self._runs - self._before} runs" if self._runs > self._before else ""
        took = time.monotonic() - self._began
        return (
            f"{self._stage}: {took:.0f} s{runs}; {time.monotonic() - self.started:.0f} s and {self._runs} runs in all"
        )

    def _beat(self) -> None:
        """From now to the end of the stage, say now and then that it goes on."""
        stopped = self._stopped = threading.Event()

        def say() -> None:
            while not stopped.wait(QUIET_S):
                self.console.print(f"{self._elapsed()} {self.now()}", markup=False)

        threading.Thread(target=say, daemon=True).start()

    def _end(self) -> None:
        if self._stopped is not None:
            self._stopped.set()
            self._stopped = None
        if self._status is None:
            return
        self._status.stop()
        self._status = None
        runs = f"  {self._runs - self._before} runs" if self._runs > self._before else ""
        took = time.monotonic() - self._began
        times = self._stages[self._stage]
        name = self._stage + (f" ({times})" if times > 1 else "")
        self.console.print(f"{self._elapsed()} {name:15}{took:7.1f} s{runs}", style="cyan", markup=False)

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self.started:7.1f}s"


class _Line:
    """Drawn anew each time the status is, so that the time moves while a stage says nothing."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal

    def __rich__(self) -> RenderableType:
        return escape(self.terminal.now())
