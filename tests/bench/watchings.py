"""A service under a steady load of a fixed share of what it can answer, with and without the agent watching it.

The load is open: each request has its moment, and its time counts from then, so a service that falls behind shows it.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.captures import COMMANDS, started
from bench.loads import CONNECTIONS, Load, answered, loaded
from bench.storms import off_storm
from butfor.ports.kernels import Kernel

SERVICE = next(iter(COMMANDS))
TURNS, WINDOW_S, SHARE = 5, 4.0, 0.7


@dataclass(frozen=True)
class Figures:
    """Windows of each way in turn, each under the load of `asked` requests per second."""

    asked: float
    alone: list[Load]
    watched: list[Load]

    @property
    def throughput(self) -> float:
        """How many times as much is answered alone; 1 is no cost."""
        return median(one.per_second for one in self.alone) / median(one.per_second for one in self.watched)

    @property
    def p99(self) -> float:
        """The watched service's p99 to that of the service alone; 1 is no cost."""
        return median(one.p99 for one in self.watched) / median(one.p99 for one in self.alone)


def measure(turns: int = TURNS, seconds: float = WINDOW_S) -> Figures:
    """One service throughout; the agent comes and goes, and is detached where it is not measured."""
    alone: list[Load] = []
    watched: list[Load] = []
    with tempfile.TemporaryDirectory(prefix="butfor-bench-") as scratch:
        folder = Path(scratch)
        (folder / "app.py").write_text(COMMANDS[SERVICE][0])
        with started(SERVICE, "alone", folder) as port:
            asked = SHARE * median(loaded(port, seconds / 2).per_second for _ in range(3))
            for turn in range(turns):
                # whichever comes second has the warmer machine: they take turns at that too
                for way in ("alone", "watched") if turn % 2 else ("watched", "alone"):
                    if way == "alone":
                        alone.append(paced(port, seconds, asked))
                    else:
                        with _watching(port, folder):
                            watched.append(paced(port, seconds, asked))
    return Figures(asked, alone, watched)


@contextmanager
def _watching(port: int, folder: Path) -> Iterator[None]:
    with tempfile.TemporaryDirectory(dir=folder) as out, off_storm(), Kernel.start() as kernel:
        kernel.watch(_listener(port))
        kernel.open(Path(out))
        yield
        kernel.close()


def _listener(port: int) -> int:
    """The process that listens on a port of the loopback."""
    wanted = f"{port:04X}"
    rows = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    inode = next(row[9] for row in rows if row[1].endswith(f":{wanted}") and row[3] == "0A")
    for path in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(path.readlink()) == f"socket:[{inode}]":
                return int(path.parts[2])
        except OSError:
            continue
    raise RuntimeError(f"nobody listens on port {port}")


def paced(port: int, seconds: float, per_second: float) -> Load:
    """Ask at fixed moments over a few kept connections; a request that must wait for a connection waits on the clock."""
    return asyncio.run(_paced(port, seconds, per_second))


async def _paced(port: int, seconds: float, per_second: float) -> Load:
    begin = time.perf_counter() + 0.05
    moments = iter([begin + at / per_second for at in range(int(seconds * per_second))])
    found = await asyncio.gather(*(_ask(port, moments) for _ in range(CONNECTIONS)))
    passed = time.perf_counter() - begin
    times = sorted(taken for one in found for taken in one)
    return Load(len(times) / passed, times[int(len(times) * 0.99)])


async def _ask(port: int, moments: Iterator[float]) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    times: list[float] = []
    try:
        for moment in moments:
            await asyncio.sleep(max(moment - time.perf_counter(), 0))
            await answered(reader, writer, len(times))
            times.append(time.perf_counter() - moment)
    finally:
        writer.close()
    return times


if __name__ == "__main__":
    figures = measure(int(sys.argv[1]), float(sys.argv[2]))
    sys.stdout.write(f"{figures.throughput:.3f} {figures.p99:.3f} {figures}\n")
