"""The agent's memory while a storm runs on: read every ten seconds, said, and compared over time.

It may last for long, so it goes before nothing else that the machine does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.storms import begun, built, off_storm
from butfor.ports.kernels import Kernel

STEP_S = 10.0


@dataclass(frozen=True)
class Flood:
    """MB of the agent at each step, and what became of the events."""

    megabytes: list[float]
    events: int
    lost: int

    @property
    def growth(self) -> float:
        """The median of the last third of the steps to that of the first; one step varies with what is just read."""
        third = max(len(self.megabytes) // 3, 1)
        return median(self.megabytes[-third:]) / median(self.megabytes[:third])


def measure(seconds: float) -> Flood:
    """Flood for so long, at least for two steps."""
    sizes: list[float] = []
    with (
        tempfile.TemporaryDirectory(prefix="butfor-bench-") as scratch,
        off_storm(first=False),
        Kernel.start() as kernel,
    ):
        folder = Path(scratch)
        process = begun(built(folder), max(seconds, 2 * STEP_S) + 1, first=False)
        kernel.watch(process.pid)
        kernel.open(folder)
        agent = _agent()
        assert process.stdin is not None
        process.stdin.write(b"x")
        process.stdin.flush()
        while process.poll() is None:
            try:
                process.wait(STEP_S)
            except subprocess.TimeoutExpired:
                sizes.append(_megabytes(agent))
                sys.stderr.write(f"agent: {sizes[-1]:.1f} MB\n")
        losses, answer = kernel.close()
    return Flood(sizes, int(answer["events"]), sum(loss.count for loss in losses))


def _agent() -> int:
    """The agent is the one child of this process that is Python."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    if children.exists():
        candidates = [int(pid) for pid in children.read_text().split()]
    else:
        candidates = [int(p.name) for p in Path("/proc").glob("[0-9]*") if _parent(p) == os.getpid()]
    return next(pid for pid in candidates if b"butfor_agent" in Path(f"/proc/{pid}/cmdline").read_bytes())


def _parent(process: Path) -> int:
    try:
        return int((process / "stat").read_bytes().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def _megabytes(pid: int) -> float:
    """Memory of its own: the ring is the kernel's, and mapped by the agent."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGESIZE") / 1e6


if __name__ == "__main__":
    begin = time.perf_counter()
    flood = measure(float(sys.argv[1]))
    sys.stdout.write(f"{flood} {flood.growth:.2f} {time.perf_counter() - begin:.0f} s\n")
