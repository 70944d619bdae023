"""Running the user's own command while it is captured: its process group, its signals, an edge before it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from butfor.capturing.commands import Command
from butfor.capturing.connections import members
from butfor.capturing.observing import Observer
from butfor.errors import UserError
from butfor.ports import edges

GRACE_S = 10.0
"""How long a service gets to end by itself before it is killed."""
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Session:
    """A started command in a process group of its own, and its edge."""

    def __init__(
        self, command: Command, environment: Mapping[str, str], spool: Path, service: str, cwd: Path,
        observer: Observer,
    ) -> None:  # fmt: skip
        self.command, self._environment, self._cwd, self._observer = command, environment, cwd, observer
        self._spool, self._service = spool, service
        self._edge: subprocess.Popen[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the edge, then the command; a UserError where one of them cannot be."""
        if self.command.front is not None and self.command.port is not None:
            self._edge = start_edge(self.command.front, self.command.port, self._spool, self._service)
        environment = {**self._environment, **self.command.environment}
        directory = self.command.directory or self._cwd
        quiet = subprocess.DEVNULL if sys.stdin is not None and sys.stdin.isatty() else None
        try:
            self._process = subprocess.Popen(
                self._observer.gated(self.command.argv, environment.get("PATH", os.defpath), directory),
                env=environment,
                cwd=directory,
                process_group=0,
                stdin=quiet,
            )
        except OSError as error:
            self._stop_edge()
            raise UserError(f"{self.command.argv[0]} cannot be started: {error.strerror}; check the command") from error
        self._observer.release(self._process.pid)

    @property
    def group(self) -> int:
        """The command's process group."""
        assert self._process is not None
        return self._process.pid

    def ended(self) -> int | None:
        """The command's exit code (negative: a signal), or None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def edge_failed(self) -> bool:
        """Whether the edge ended by itself."""
        return self._edge is not None and self._edge.poll() is not None

    def forward(self, number: int) -> None:
        """Send a signal to the whole group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.group, number)

    def stop(self, first: int = signal.SIGTERM) -> int:
        """End the group: `first`, then SIGTERM, then SIGKILL; returns the command's exit code."""
        if self._process is None:
            return 0
        followers = members(self.group)
        for number, patience in ((first, GRACE_S), (signal.SIGTERM, GRACE_S / 2), (signal.SIGKILL, GRACE_S)):
            if self._process.poll() is not None and not _alive(followers):
                break
            self.forward(number)
            self._wait(patience, followers)
        self._stop_edge()
        return self._process.wait()

    def _wait(self, patience: float, followers: list[int]) -> None:
        assert self._process is not None
        until = time.monotonic() + patience
        while time.monotonic() < until and (self._process.poll() is None or _alive(followers)):
            time.sleep(0.05)

    def _stop_edge(self) -> None:
        if self._edge is not None:
            self._edge.terminate()
            try:
                self._edge.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                self._edge.kill()
            for stream in (self._edge.stdin, self._edge.stdout):
                if stream is not None:
                    stream.close()


def start_edge(listen: int, target: int, spool: Path, service: str) -> subprocess.Popen[str]:
    """Start a recording proxy on loopback that ends with us; a UserError where the port cannot be had."""
    options = [
        "--listen",
        f"127.0.0.1:{listen}",
        "--target",
        f"127.0.0.1:{target}",
        "--until-stdin-closes",
        "--wait",
        "20",
    ]
    edge = subprocess.Popen(
        [sys.executable, "-I", str(Path(edges.__file__).parent), *options, "--spool", str(spool), "--service", service],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, process_group=0,
    )  # fmt: skip
    assert edge.stdout is not None
    if not edge.stdout.readline().startswith("listening"):
        edge.wait(GRACE_S)
        raise UserError(f"nothing can listen on port {listen}; choose another --listen")
    return edge


@contextlib.contextmanager
def signals(forward: Callable[[int], None]) -> Iterator[list[int]]:
    """Pass signals on to the command while inside; the list holds those that ask for the end.

    The third of these is somebody who does not want to wait: the command is killed.
    """
    asked: list[int] = []

    def handle(number: int, _: FrameType | None) -> None:
        if number not in {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}:
            forward(number)
            return
        asked.append(number)
        if len(asked) > 2:
            forward(signal.SIGKILL)

    before: dict[int, Any] = {number: signal.signal(number, handle) for number in _FORWARDED}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _alive(pids: list[int]) -> bool:
    """Whether one of these still runs; a zombie does not."""
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            continue
        if state != "Z":
            return True
    return False
