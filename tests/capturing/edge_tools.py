"""Edges as subprocesses and raw services for the tests of this room; nothing here asserts."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from butfor.ports import edges

FOLDER = Path(edges.__file__).parent


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def read_head(sock: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        part = sock.recv(65536)
        if not part:
            break
        data += part
    return data


@contextlib.contextmanager
def raw_service(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """A TCP server that gives each connection to `handle` on a thread; yields its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(0.05)
    stopping = threading.Event()

    def one(sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            handle(sock)

    def work() -> None:
        while not stopping.is_set():
            with contextlib.suppress(TimeoutError):
                sock, _ = listener.accept()
                sock.settimeout(10)
                threading.Thread(target=one, args=(sock,), daemon=True).start()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        stopping.set()
        thread.join()
        listener.close()


@contextlib.contextmanager
def edge(target: int, spool: Path, *options: str, python: str = sys.executable) -> Iterator[int]:
    """An edge as it runs in a sandbox: the folder alone, isolated; yields its port, stops it with SIGTERM."""
    command = [python, "-I", str(FOLDER), "--listen", "127.0.0.1:0", "--target", f"127.0.0.1:{target}"]
    command += ["--spool", str(spool), "--service", "shop", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield int(process.stdout.readline().rpartition(":")[2])
        finally:
            process.terminate()
            process.wait(10)


def lines(spool: Path, kind: str) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(spool.glob(f"{kind}-*")) for line in path.read_text().splitlines()]


def payloads(spool: Path, count: int = 1, timeout: float = 5.0) -> list[dict[str, Any]]:
    """The last payload line per span, once `count` spans have ended."""
    until = time.monotonic() + timeout
    while len(lines(spool, "spans")) < count and time.monotonic() < until:
        time.sleep(0.02)
    return list({line["span_id"]: line for line in lines(spool, "payloads")}.values())


def spans(spool: Path, kind: str = "spans") -> list[dict[str, Any]]:
    found = [line["resourceSpans"][0]["scopeSpans"][0]["spans"][0] for line in lines(spool, kind)]
    for span in found:
        span["at"] = {a["key"]: next(iter(a["value"].values())) for a in span["attributes"]}
    return found


def body(spool: Path, digest: str) -> bytes:
    return (spool / "bodies" / digest).read_bytes()
