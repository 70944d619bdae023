"""A bounded load on one port of the loopback: a few kept connections that ask again as soon as they are answered."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

CONNECTIONS = 8
_REQUEST = b"GET /things/%d HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\n\r\n"


@dataclass(frozen=True)
class Load:
    """Answers per second and the 99th percentile of their seconds, over one window."""

    per_second: float
    p99: float


def loaded(port: int, seconds: float) -> Load:
    """Ask for `seconds`; RuntimeError where an answer is not 200, because then nothing was measured."""
    return asyncio.run(_loaded(port, seconds))


async def _loaded(port: int, seconds: float) -> Load:
    begin = time.perf_counter()
    found = await asyncio.gather(*(_ask(port, begin + seconds) for _ in range(CONNECTIONS)))
    passed = time.perf_counter() - begin
    times = sorted(taken for one in found for taken in one)
    if not times:
        raise RuntimeError(f"nothing was answered on port {port}")
    return Load(len(times) / passed, times[int(len(times) * 0.99)])


async def _ask(port: int, until: float) -> list[float]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    times: list[float] = []
    try:
        while (begin := time.perf_counter()) < until:
            await answered(reader, writer, len(times))
            times.append(time.perf_counter() - begin)
    finally:
        writer.close()
    return times


async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
    """Ask once and read the whole answer; RuntimeError where it is not 200."""
    writer.write(_REQUEST % (number % 50))
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    if b" 200 " not in head.split(b"\r\n", 1)[0]:
        raise RuntimeError(f"answered {head[:80]!r}")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    if not lengths:
        raise RuntimeError("an answer has no Content-Length")
    await reader.readexactly(int(lengths[0].split(b":")[1]))
