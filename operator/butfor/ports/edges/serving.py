"""The edge as a program: its options, its port, its end."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from . import __doc__ as description
from .connections import Connection, Edge
from .spools import Spool, say

PAYLOAD_LIMIT = 33_554_432


async def serve(listen: tuple[str, int], edge: Edge, *, until_stdin_closes: bool = False) -> None:
    """Serve until SIGTERM or SIGINT (or the end of stdin); prints `listening HOST:PORT` when it can be used."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if until_stdin_closes:
        loop.add_reader(0, lambda: None if os.read(0, 4096) else stop.set())
    server = await loop.create_server(lambda: Connection(edge).client, *listen, backlog=2048)
    host, port = server.sockets[0].getsockname()[:2]
    edge.spool.port = port
    say(f"listening {host}:{port}", sys.stdout)
    await stop.wait()
    server.close()
    edge.interrupted()


def address(text: str) -> tuple[str, int]:
    """`HOST:PORT` as a pair."""
    host, _, port = text.rpartition(":")
    return host.strip("[]") or "127.0.0.1", int(port)


def main() -> int:
    """Run as a script; exit code 2 where the port cannot be had."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--listen", type=address, required=True)
    parser.add_argument("--target", type=address, required=True)
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--service", required=True)
    parser.add_argument("--payload-limit", type=int, default=PAYLOAD_LIMIT)
    parser.add_argument("--wait", type=float, default=0.0, help="seconds for a service that was never up, then 503")
    parser.add_argument("--until-stdin-closes", action="store_true")
    given = parser.parse_args()
    try:
        spool = Spool(given.spool, given.service, given.listen[1])
        edge = Edge(given.target, spool, given.payload_limit, given.wait)
        asyncio.run(serve(given.listen, edge, until_stdin_closes=given.until_stdin_closes))
    except OSError as error:
        say(f"edge: {error}", sys.stderr)
        return 2
    spool.close()
    return 0
