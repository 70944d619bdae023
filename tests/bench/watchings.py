"""A service under a steady load of a fixed share of what it can answer, with and without the agent watching it.

The load is open: each request has its moment, and its time counts from then, so a service that falls behind shows it.
A few percent of a p99 are less than what a machine's other work moves it by. So the service has one core and whoever
asks another, both before all other work; windows are many, short and in pairs, and what is compared is each pair.
The agent has what they leave of the cores: what is measured is the cost inside the kernel.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from bench.captures import COMMANDS, started
from bench.loads import CONNECTIONS, Load, answered, loaded
from bench.storms import off_storm, on_storm
from butfor.ports.kernels import Kernel

SERVICE = next(iter(COMMANDS))
TURNS, WINDOW_S, SHARE = 30, 1.5, 0.7
_RESAMPLES, _SEED = 10_000, 20
_SETTLE_S = 0.2


@dataclass(frozen=True)
class Cost:
    """A ratio, watched to alone or the other way about, 1 is none: the median of pairs, and its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, pairs: Sequence[float]) -> Cost:
        """From the ratio of each pair; the interval is that of the bootstrap."""
        ratios = np.array(pairs)
        chosen = np.random.default_rng(_SEED).integers(0, len(ratios), (_RESAMPLES, len(ratios)))
        low, high = np.quantile(np.median(ratios[chosen], axis=1), [0.025, 0.975])
        return cls(float(np.median(ratios)), float(low), float(high))


@dataclass(frozen=True)
class Figures:
    """Windows of each way, the same place in both is a pair; each under the load of `asked` requests per second."""

    asked: float
    alone: list[Load]
    watched: list[Load]

    @property
    def throughput(self) -> Cost:
        """How many times as much is answered alone."""
        return Cost.of([a.per_second / w.per_second for a, w in zip(self.alone, self.watched, strict=True)])

    @property
    def p99(self) -> Cost:
        """The watched service's p99 to that of the service alone."""
        return Cost.of([w.p99 / a.p99 for a, w in zip(self.alone, self.watched, strict=True)])


def measure(turns: int = TURNS, seconds: float = WINDOW_S) -> Figures:
    """One service throughout; the agent comes and goes, and is detached where it is not measured."""
    found: dict[bool, list[Load]] = {False: [], True: []}
    with tempfile.TemporaryDirectory(prefix="butfor-bench-") as scratch:
        folder = Path(scratch)
        (folder / "app.py").write_text(COMMANDS[SERVICE][0])
        with _service(folder) as port:
            with off_storm():
                asked = SHARE * median(loaded(port, seconds).per_second for _ in range(3))
            for turn in range(turns):
                # whichever comes second has the warmer machine: they take turns at that too
                for watched in (False, True) if turn % 2 else (True, False):
                    with _watching(port, folder) if watched else nullcontext(), off_storm():
                        paced(port, _SETTLE_S, asked)
                        found[watched].append(paced(port, seconds, asked))
    return Figures(asked, found[False], found[True])


@contextmanager
def _service(folder: Path) -> Iterator[int]:
    """The service, on a core of its own."""
    with ExitStack() as stack:
        with on_storm():
            port = stack.enter_context(started(SERVICE, "alone", folder))
        yield port


@contextmanager
def _watching(port: int, folder: Path) -> Iterator[None]:
    with tempfile.TemporaryDirectory(dir=folder) as out, Kernel.start() as kernel:
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
    gc.collect()
    gc.disable()  # its pauses would be the service's p99
    try:
        return asyncio.run(_paced(port, seconds, per_second))
    finally:
        gc.enable()


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
    sys.stdout.write(f"{figures.throughput}\n{figures.p99}\n{figures}\n")
