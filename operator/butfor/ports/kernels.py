"""The door to the kernel's evidence: drives one agent process, which detaches everything when its stdin ends.

An agent that cannot be had is a reason, never an error: whoever captures goes on without kernel events and says why.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from butfor.errors import InfrastructureError
from butfor.evidence.bundles import Loss
from butfor.ports.caches import cache_root

_START_S, _ANSWER_S = 120.0, 60.0
"""The first start may compile the probes."""


_LOST = {
    "ring_full": ("kernel events", "the buffer was full"),
    "not_stored": ("kernel events", "they could not be written"),
    "pending_full": ("kernel durations", "more calls at once than can be remembered"),
    "stack": ("kernel stacks", "they could not be kept"),
    "processes_left_out": ("kernel processes", "more than are kept"),
    "socket_full": ("kernel sockets", "more at once than can be remembered"),
}
"""Where something is missing, and why, by the agent's reasons: only the first two are events."""


class Kernel:
    """One agent. `watch` processes, `open` a folder, `close` it; used as a context manager."""

    def __init__(self, process: subprocess.Popen[bytes], probes: dict[str, str]) -> None:
        self._process, self.probes = process, probes
        self.ways: dict[str, str] = {}
        """By which ways each probe is attached, and why not by an earlier one."""
        self.recording = threading.Lock()
        """Held while a folder is open: an agent writes one recording at a time."""

    @classmethod
    def start(cls, *, exceptions: bool = False) -> Kernel:
        """Start the agent; raises InfrastructureError, whose line says why there is none."""
        if os.geteuid() != 0:
            raise InfrastructureError("kernel events need root (CAP_BPF, CAP_PERFMON)")
        command = [sys.executable, "-m", "butfor_agent", "--cache", str(cache_root())]
        process = subprocess.Popen(
            [*command, *(["--exceptions"] if exceptions else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        kernel = cls(process, {})
        try:
            answer = kernel._answer(_START_S)
            kernel.probes, kernel.ways = answer["probes"], answer.get("ways", {})
        except InfrastructureError:
            kernel.stop()
            raise
        return kernel

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def alive(self) -> bool:
        """Whether the agent still runs."""
        return self._process.poll() is None

    def watch(self, pid: int, service: str = "") -> None:
        """Watch a process and everything it starts; `service`: whose they are, unless they say (BUTFOR_SERVICE)."""
        self._ask({"do": "watch", "pid": pid, "service": service})

    def forget(self, pid: int) -> None:
        """Watch it no more."""
        self._ask({"do": "forget", "pid": pid})

    def open(self, folder: Path) -> None:
        """Write what comes from now on to `folder/kernel.arrow`."""
        self._ask({"do": "open", "folder": str(folder)})

    def close(self) -> tuple[list[Loss], dict[str, Any]]:
        """End the file, with `processes.arrow` and `stacks.arrow` beside it; losses, and the clock's bounds."""
        answer = self._ask({"do": "close"})
        return [_loss(window) for window in answer["losses"]], answer

    def stop(self) -> None:
        """End the agent; the kernel detaches what it had attached, also if it has to be killed."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it was killed, with a command on its way
                self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError) as error:
            raise InfrastructureError("the agent ended; kernel events from then on are missing") from error
        return self._answer(_ANSWER_S)

    def _answer(self, seconds: float) -> dict[str, Any]:
        line = self._line(time.monotonic() + seconds)
        try:
            answer: dict[str, Any] = json.loads(line)
        except ValueError as error:
            raise InfrastructureError("the agent ended; kernel events from then on are missing") from error
        if not answer.get("ok"):
            raise InfrastructureError(f"kernel events: {answer.get('why', 'refused without a reason')}")
        return answer

    def _line(self, until: float) -> bytes:
        """One line; read unbuffered, because a poll does not see what a buffer holds."""
        assert self._process.stdout is not None
        descriptor, line = self._process.stdout.fileno(), b""
        while not line.endswith(b"\n"):
            left = until - time.monotonic()
            if left <= 0 or not select.select([descriptor], [], [], left)[0]:
                raise InfrastructureError("the agent does not answer")
            piece = os.read(descriptor, 65536)
            if not piece:
                break
            line += piece
        return line


def _loss(window: dict[str, Any]) -> Loss:
    where, reason = _LOST.get(window["reason"], ("kernel events", str(window["reason"]).replace("_", " ")))
    return Loss(where=where, reason=reason, count=window["count"], start_ns=window["start_ns"], end_ns=window["end_ns"])
