"""The kernel's agent beside a capture: whether it can be had, what it watches from its first moment, what it found."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from butfor.capturing.commands import python_of
from butfor.errors import InfrastructureError
from butfor.evidence.recordings import KernelRecording
from butfor.ports import writers
from butfor.ports.kernels import Kernel
from butfor.ports.recordings import Recording

_NAMES = {
    "calls": "system calls that fail or take long",
    "tcp": "TCP",
    "waiting": "waits",
    "lifecycle": "starts and ends of processes",
    "exceptions": "exceptions of CPython",
}
_WAIT = 'read -r _ <"$0" && exec "$@"'
"""Becomes the command, with the same process id and input, once something is written to the named pipe."""


class Observer:
    """Used as `start`, then `gated` and `release` for each command (or `attach` to a process), then `stop`."""

    def __init__(self, scratch: Path, service: str, reason: str = "") -> None:
        self.reason = reason
        self._scratch, self._service = scratch, service
        self._kernel: Kernel | None = None
        self._recording = Recording(None, scratch / "kernel", reason)
        self._gate: Path | None = None
        self._told = False
        self._open = -1

    def start(self, *, exceptions: bool = False) -> None:
        """Start the agent, where it is wanted and can be had; `reason` says why there is none."""
        if self.reason:
            return
        try:
            self._kernel = Kernel.start(exceptions=exceptions)
        except InfrastructureError as error:
            self.reason = str(error)
            self._recording = Recording(None, self._scratch / "kernel", self.reason)
            return
        self._recording = Recording(self._kernel, self._scratch / "kernel")
        self._recording.begin()

    @property
    def watches(self) -> bool:
        """Whether there is an agent."""
        return self._kernel is not None

    def seen(self) -> str:
        """What of the kernel is captured, for the first line."""
        assert self._kernel is not None
        live = [name for name, state in self._kernel.probes.items() if state == "attached"]
        absent = [f"{name}: {state}" for name, state in self._kernel.probes.items() if state != "attached"]
        text = ", ".join(_NAMES.get(name, name) for name in live)
        return f"of the kernel: {text}" + (f" (not {'; '.join(absent)})" if absent else "")

    def variables(self, argv: list[str]) -> dict[str, str]:
        """Where the command's interpreter finds what publishes its spans to the agent."""
        if not self.watches:
            return {}
        folder = self._scratch / "context"
        pythons = [python_of(argv), sys.executable, *(shutil.which(name) for name in ("python3", "python"))]
        made = writers.gathered([one for one in pythons if one], folder)
        return {"BUTFOR_CONTEXT": str(folder)} if made else {}

    def gated(self, argv: list[str], path: str, directory: Path) -> list[str]:
        """A command that waits to be watched before it does anything; one that cannot be started stays as it is."""
        program = directory / argv[0] if "/" in argv[0] else Path(shutil.which(argv[0], path=path) or "")
        if not self.watches or not program.is_file() or not os.access(program, os.X_OK):
            return argv
        self._gate = self._scratch / "gate"
        if not self._gate.exists():
            os.mkfifo(self._gate, 0o600)
        return ["/bin/sh", "-c", _WAIT, str(self._gate), *argv]

    def release(self, pid: int) -> None:
        """Watch the command that waits, and let it go on."""
        if not self.watches:
            return
        self.attach(pid)
        if self._gate is not None:
            # open for both, so that this neither waits for the reader nor leaves before it has come; and before the
            # last one is closed, for a command that waits already would read the end of its input
            opened = os.open(self._gate, os.O_RDWR)
            os.write(opened, b"\n")
            self._close()
            self._open = opened
            self._gate = None

    def attach(self, pid: int) -> None:
        """Watch a process that runs, and what it starts; `reason` says why that cannot be."""
        self._recording.watch(pid, self._service)
        self.reason = self.reason or self._recording.reason

    def _close(self) -> None:
        if self._open >= 0:
            os.close(self._open)
            self._open = -1

    def news(self) -> str:
        """One line, once, where the agent ended by itself."""
        if self._kernel is None or self._kernel.alive or self._told:
            return ""
        self._told = True
        return "the kernel's agent ended early: kernel events from now on are missing"

    def stop(self, until_ns: int) -> KernelRecording:
        """End the agent; what it recorded, up to a time where one is given."""
        self._close()
        found = self._recording.end(services_only=True, until_ns=until_ns)
        if self._kernel is not None:
            self._kernel.stop()
            self._kernel = None
        return found
