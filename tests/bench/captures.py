"""What `butfor capture` costs a service under load: throughput and p99 with and without it, interleaved.

Client, service and capture share the machine's cores, as they do where a developer captures.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.loads import Load, loaded
from bench.services import ASGI, WSGI

WINDOW_S, WARM_S = 2.0, 0.3
COMMANDS = {
    "starlette on uvicorn": (ASGI, ["-m", "uvicorn", "app:app", "--log-level", "warning", "--port", "PORT"]),
    "flask on gunicorn": (
        WSGI,
        ["-m", "gunicorn", "--threads=8", "--log-level=warning", "--bind=127.0.0.1:PORT", "app:app"],
    ),
}
MODES = ("alone", "capture", "capture and proxy")
"""`capture and proxy`: a recording proxy stands in front of the service as well."""


@dataclass(frozen=True)
class Figures:
    """Windows of each mode, in turn."""

    windows: dict[str, list[Load]]

    def throughput(self, mode: str) -> float:
        """Median throughput to that of the service alone; 1 is no cost."""
        return self._median(mode, "per_second") / self._median("alone", "per_second")

    def p99(self, mode: str) -> float:
        """Median p99 to that of the service alone; 1 is no cost."""
        return self._median(mode, "p99") / self._median("alone", "p99")

    def added_us(self, mode: str) -> float:
        """Microseconds of the machine that a request costs more than alone."""
        return (1 / self._median(mode, "per_second") - 1 / self._median("alone", "per_second")) * 1e6

    def _median(self, mode: str, name: str) -> float:
        return float(median(getattr(one, name) for one in self.windows[mode]))


def measure(service: str, turns: int = 5) -> Figures:
    """Every mode in each turn, each from a fresh start."""
    windows: dict[str, list[Load]] = {mode: [] for mode in MODES}
    with tempfile.TemporaryDirectory(prefix="butfor-bench-") as scratch:
        folder = Path(scratch)
        (folder / "app.py").write_text(COMMANDS[service][0])
        for _ in range(turns):
            for mode in MODES:
                with started(service, mode, folder) as port:
                    loaded(port, WARM_S)
                    windows[mode].append(loaded(port, WINDOW_S))
    return Figures(windows)


@contextmanager
def started(service: str, mode: str, folder: Path) -> Iterator[int]:
    """The service, ready on the port that is given; it is ended, and what it recorded is thrown away."""
    with tempfile.TemporaryDirectory(dir=folder) as out, (folder / "log").open("wb") as log:
        port = _free_port()
        command = _command(service, mode, port, Path(out) / "bundle")
        variables = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "BUTFOR_", "PYTHONPATH"))}
        process = subprocess.Popen(
            command, cwd=folder, env=variables, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
        try:
            _wait(process, port, folder / "log")
            yield port
        finally:
            _end(process)


def _command(service: str, mode: str, port: int, out: Path) -> list[str]:
    own = "$PORT" if mode == "capture and proxy" else str(port)
    run = [sys.executable, *(part.replace("PORT", own) for part in COMMANDS[service][1])]
    capture = [sys.executable, "-m", "butfor.cli", "capture", "--name", "benched", "--privacy", "local"]
    if mode == "alone":
        return run
    front = ["--listen", str(port)] if mode == "capture and proxy" else []
    return [*capture, *front, "--out", str(out), "--", *run]


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/ready")
            if connection.getresponse().status == 200:
                return
        except (OSError, http.client.HTTPException):
            time.sleep(0.05)
        finally:
            connection.close()
    raise RuntimeError(f"it does not serve: {log.read_text('utf-8', 'replace')[-500:]}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(timeout=120)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
