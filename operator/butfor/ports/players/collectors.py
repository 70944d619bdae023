"""Takes OTLP over HTTP from services that carry an SDK, and keeps the bodies as they came. Standard library only.

    python collectors.py PORT SPOOL

A service named NAME exports to `http://127.0.0.1:PORT/NAME`. In SPOOL a file `otlp-*.frames` gets per request one
JSON line (`service`, `signal`, `content_type`, `content_encoding`, `bytes`) and then the body.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote, unquote

SIGNALS = ("traces", "logs", "metrics")
LARGEST = 64 << 20
ROOM = 256 << 20
DELAY_MS = 1000
"""How long an SDK holds what it recorded: soon enough for a play, seldom enough not to slow its services down."""
_IDLE_S = 60.0


def environment(port: int, service: str) -> dict[str, str]:
    """Variables by which a service's SDK exports here, soon; OpenTelemetry's own names."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}/{quote(service, safe='')}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_SERVICE_NAME": service,
        "OTEL_BSP_SCHEDULE_DELAY": str(DELAY_MS),
        "OTEL_BLRP_SCHEDULE_DELAY": str(DELAY_MS),
    }


def speaks(environment_path: str | None) -> bool:
    """Whether an SDK in this virtual environment can export here: not if all it has is the exporter over gRPC."""
    if not environment_path:
        return True
    folders = list(Path(environment_path).glob("lib/python3*/site-packages/opentelemetry/exporter/otlp/proto"))
    return not any((f / "grpc").is_dir() and not (f / "http").is_dir() for f in folders)


class Frames:
    """The file of what was taken, up to `room` bytes; thread-safe."""

    def __init__(self, spool: Path, room: int = ROOM) -> None:
        path = spool / f"otlp-{os.getpid()}-{secrets.token_hex(4)}.frames"
        self._file = path.open("xb", buffering=0)
        self._room = room
        self._lock = threading.Lock()

    def add(self, facts: dict[str, str | int], body: bytes) -> bool:
        """Append a request; False where there is no room left."""
        frame = json.dumps(facts).encode() + b"\n" + body
        with self._lock:
            if len(frame) > self._room:
                return False
            self._room -= len(frame)
            self._file.write(frame)
            return True

    def close(self) -> None:
        """Nothing more is taken."""
        with self._lock:
            self._room = 0
            self._file.close()


class Handler(BaseHTTPRequestHandler):
    """One connection of an exporter."""

    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S
    server: Server

    def do_POST(self) -> None:
        """Keep the body; 4xx asks the exporter not to try again."""
        parts = self.path.partition("?")[0].strip("/").split("/")
        length = self.headers.get("Content-Length", "")
        if len(parts) != 3 or parts[1] != "v1" or parts[2] not in SIGNALS:
            return self._answer(404)
        if not length.isdecimal() or int(length) > LARGEST:
            return self._answer(411 if not length.isdecimal() else 413)
        body = self.rfile.read(int(length))
        kind = self.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        facts: dict[str, str | int] = {
            "service": unquote(parts[0]), "signal": parts[2], "content_type": kind,
            "content_encoding": self.headers.get("Content-Encoding", "identity").strip().lower(), "bytes": len(body),
        }  # fmt: skip
        kept = len(body) == int(length) and self.server.frames.add(facts, body)
        return self._answer(200 if kept else 400, b"{}" if kind == "application/json" else b"", kind)

    def _answer(self, status: int, body: bytes = b"", kind: str = "text/plain") -> None:
        """An empty body is an empty response in protobuf."""
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if status != 200:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        """Exporters say themselves what goes wrong."""


class Server(ThreadingHTTPServer):
    """The collector at work; what ends badly on a connection ends that connection."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, frames: Frames) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.frames = frames

    def handle_error(self, request: object, client_address: object) -> None:
        """An exporter that was killed in the middle of a request is no event."""

    def server_close(self) -> None:
        """Close the port and the file."""
        super().server_close()
        self.frames.close()

    def server_bind(self) -> None:
        """Without looking up a name for the address."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = "127.0.0.1", self.socket.getsockname()[1]


if __name__ == "__main__":
    Server(int(sys.argv[1]), Frames(Path(sys.argv[2]))).serve_forever()
