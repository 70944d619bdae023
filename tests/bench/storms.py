"""A storm of failing calls on one core: alone, watched by the agent, and watched by `bpftrace` printing the same fields.

What reads the events is kept to the other cores, for all ways alike, as the storm would be on a machine with more.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from butfor.ports.kernels import Kernel

TURNS, SECONDS = 5, 4.0
_CORES = os.sched_getaffinity(0)
_PATH = b"/nowhere/storm"
_PEER = """
tracepoint:syscalls:sys_enter_openat /pid == %d/ { @path[tid] = args->filename; @at[tid] = nsecs; }
tracepoint:syscalls:sys_exit_openat /pid == %d && args->ret < 0/ {
  printf("%%llu %%llu %%d %%d %%d %%llu %%d %%s %%s\\n", nsecs, nsecs - @at[tid], args->ret, pid, tid, cgroup, cpu, comm,
    str(@path[tid]));
}
"""


@dataclass(frozen=True)
class Storm:
    """One storm: calls made, their seconds and CPU seconds; events that reached their file, and events known lost."""

    calls: int
    seconds: float
    cpu_seconds: float
    delivered: int = 0
    lost: int = 0

    @property
    def rate(self) -> float:
        """Calls per second."""
        return self.calls / self.seconds

    @property
    def delivered_rate(self) -> float:
        """Events per second that reached their file."""
        return self.delivered / self.seconds


def built(folder: Path) -> Path:
    """The storm program."""
    program = folder / "storm"
    subprocess.run(["gcc", "-O2", str(Path(__file__).with_name("storm.c")), "-o", str(program)], check=True)
    return program


def measure(turns: int = TURNS, seconds: float = SECONDS) -> dict[str, list[Storm]]:
    """`alone`, `agent` and, where it is installed, `bpftrace`, in turn."""
    ways: dict[str, Callable[[Path, float], Storm]] = {"alone": alone, "agent": watched}
    if shutil.which("bpftrace"):
        ways["bpftrace"] = peered
    found: dict[str, list[Storm]] = {name: [] for name in ways}
    with tempfile.TemporaryDirectory(prefix="butfor-bench-") as scratch:
        program = built(Path(scratch))
        for _ in range(turns):
            for name, way in ways.items():
                found[name].append(way(program, seconds))
    return found


def alone(program: Path, seconds: float) -> Storm:
    """Nothing is attached."""
    return _run(begun(program, seconds))


def watched(program: Path, seconds: float) -> Storm:
    """The agent with its default probes, written to a file as in a capture."""
    with tempfile.TemporaryDirectory(dir=program.parent) as out, off_storm(), Kernel.start() as kernel:
        process = begun(program, seconds)
        kernel.watch(process.pid)
        kernel.open(Path(out))
        storm = _run(process)
        losses, answer = kernel.close()
        return Storm(
            storm.calls, storm.seconds, storm.cpu_seconds, int(answer["events"]), sum(loss.count for loss in losses)
        )


def peered(program: Path, seconds: float) -> Storm:
    """`bpftrace` with the fields that the agent keeps of such a call."""
    process = begun(program, seconds)
    out, said = program.with_name("peer.out"), program.with_name("peer.err")
    with out.open("wb") as stdout, said.open("wb") as stderr, off_storm():
        peer = subprocess.Popen(
            ["bpftrace", "-B", "full", "-e", _PEER % (process.pid, process.pid)], stdout=stdout, stderr=stderr
        )
        try:
            _attached(peer, out)
            storm = _run(process)
        finally:
            peer.send_signal(2)
            peer.wait(60)
    lost = sum(int(number) for number in re.findall(rb"[Ll]ost (\d+) events", out.read_bytes() + said.read_bytes()))
    delivered = out.read_bytes().count(_PATH)
    return Storm(storm.calls, storm.seconds, storm.cpu_seconds, delivered, lost)


def begun(program: Path, seconds: float) -> subprocess.Popen[bytes]:
    """The storm, on the last core, waiting for its byte."""
    with _kept_to({max(_CORES)}):
        return subprocess.Popen([str(program), str(seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _run(process: subprocess.Popen[bytes]) -> Storm:
    out, _ = process.communicate(b"x", timeout=300)
    calls, seconds, cpu_seconds = out.split()
    return Storm(int(calls), float(seconds), float(cpu_seconds))


@contextmanager
def _kept_to(cores: set[int]) -> Iterator[None]:
    """What is started meanwhile stays on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def off_storm() -> AbstractContextManager[None]:
    """What is started meanwhile leaves the storm its core."""
    return _kept_to(_CORES - {max(_CORES)} or _CORES)


def _attached(peer: subprocess.Popen[bytes], out: Path) -> None:
    """It says how many probes it attaches, and then needs a moment to do so."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and peer.poll() is None:
        time.sleep(0.1)
        if b"Attaching" in out.read_bytes() or time.monotonic() > deadline - 26:
            time.sleep(1.0)
            return
    raise RuntimeError("bpftrace does not start")


if __name__ == "__main__":
    sys.stdout.write(f"{measure(int(sys.argv[1]), float(sys.argv[2]))}\n")
