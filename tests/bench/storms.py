"""A storm of failing calls on one core: alone, watched by the agent, and watched by `bpftrace` printing the same fields.

The load is one thread that calls as fast as it can, on a core of its own. What reads the events is kept to the other
cores, and both go before whatever else the machine does, for all ways alike: as on a machine with more cores.
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
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from butfor.ports.kernels import Kernel

TURNS, SECONDS = 5, 4.0
_CORES = os.sched_getaffinity(0)
_PATH = b"/nowhere/storm"
_PEER = """
tracepoint:syscalls:sys_enter_openat /pid == %d/ { @begun[tid] = (nsecs, args->filename); }
tracepoint:syscalls:sys_exit_openat /pid == %d && args->ret < 0/ {
  $begun = @begun[tid];
  printf("%%llu %%llu %%d %%d %%d %%llu %%d %%s %%s\\n", nsecs, nsecs - $begun.0, args->ret, pid, tid, cgroup, cpu,
    comm, str($begun.1));
}
"""
"""One map entry for a call: with two it delivers less."""
PEERS = {"bpftrace": 64, "bpftrace, larger buffers": 4096}
"""Pages of a core's buffer; 64 is its own choice. Which delivers more depends on the machine: the better counts."""


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
    """`alone`, `agent` and, where it is installed, the ways of PEERS, in turn."""
    ways: dict[str, Callable[[Path, float], Storm]] = {"alone": alone, "agent": watched}
    if shutil.which("bpftrace"):
        ways |= {name: partial(peered, pages=pages) for name, pages in PEERS.items()}
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


def peered(program: Path, seconds: float, *, pages: int) -> Storm:
    """`bpftrace` with the fields that the agent keeps of such a call, written in whole blocks: its fastest way."""
    process = begun(program, seconds)
    out, said = program.with_name("peer.out"), program.with_name("peer.err")
    with out.open("wb") as stdout, said.open("wb") as stderr, off_storm():
        peer = subprocess.Popen(
            ["bpftrace", "-B", "full", "-e", _PEER % (process.pid, process.pid)],
            stdout=stdout, stderr=stderr, env=os.environ | {"BPFTRACE_PERF_RB_PAGES": str(pages)},
        )  # fmt: skip
        try:
            _attached(peer, out)
            storm = _run(process)
        finally:
            peer.send_signal(2)
            peer.wait(60)
    lost = sum(int(number) for number in re.findall(rb"[Ll]ost (\d+) events", out.read_bytes() + said.read_bytes()))
    delivered = out.read_bytes().count(_PATH)
    return Storm(storm.calls, storm.seconds, storm.cpu_seconds, delivered, lost)


def begun(program: Path, seconds: float, *, first: bool = True) -> subprocess.Popen[bytes]:
    """The storm, on the last core, waiting for its byte."""
    with on_storm(first=first):
        return subprocess.Popen([str(program), str(seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _run(process: subprocess.Popen[bytes]) -> Storm:
    out, _ = process.communicate(b"x", timeout=300)
    calls, seconds, cpu_seconds = out.split()
    return Storm(int(calls), float(seconds), float(cpu_seconds))


@contextmanager
def _kept_to(cores: set[int], *, first: bool) -> Iterator[None]:
    """What is started meanwhile stays on these cores; `first`: it goes before all else, where that is permitted."""
    before, policy, parameter = os.sched_getaffinity(0), os.sched_getscheduler(0), os.sched_getparam(0)
    os.sched_setaffinity(0, cores)
    if first:
        with suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, policy, parameter)
        os.sched_setaffinity(0, before)


def on_storm(*, first: bool = True) -> AbstractContextManager[None]:
    """What is started meanwhile has the storm's core."""
    return _kept_to({max(_CORES)}, first=first)


def off_storm(*, first: bool = True) -> AbstractContextManager[None]:
    """What is started meanwhile leaves the storm its core."""
    return _kept_to(_CORES - {max(_CORES)} or _CORES, first=first)


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
