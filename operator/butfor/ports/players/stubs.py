"""Stand-ins for downstream services that replay captured answers. Standard library only.

An answer is found by method, target and body hash, then by method and target, then by method and path; answers
that fit equally well are given in captured order, the last one again and again. Spare answers come after those
that fit as well.
"""

from __future__ import annotations

import contextlib
import hashlib
import socket
import socketserver
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

_HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "proxy-connection", "upgrade"}
_MAXIMUM_BODY = 64 << 20
_MAXIMUM_ASKED = 5000


class Answers:
    """Captured answers of one downstream; thread-safe. Each is a StubAnswer as JSON (see the plan).

    `asked` counts calls by method, target and body hash (empty without a body), parted by a space.
    """

    def __init__(self, answers: list[dict[str, Any]]) -> None:
        self.answers = answers
        self.asked: dict[str, int] = {}
        self.missed: dict[str, None] = {}
        self._given = [0] * len(answers)
        self._lock = threading.Lock()

    def find(self, method: str, target: str, body: bytes) -> dict[str, Any] | None:
        """The answer for a call, None where nothing like it was captured."""
        digest = hashlib.sha256(body).hexdigest()
        call = f"{method} {target} {digest if body else ''}"
        with self._lock:
            if call in self.asked or len(self.asked) < _MAXIMUM_ASKED:
                self.asked[call] = self.asked.get(call, 0) + 1
            best = self._best(method, target, digest)
            if not best:
                if len(self.missed) < _MAXIMUM_ASKED:
                    self.missed[f"{method} {target}"] = None
                return None
            chosen = next((i for i in best if not self._given[i]), best[-1])
            self._given[chosen] += 1
            return self.answers[chosen]

    def _best(self, method: str, target: str, digest: str) -> list[int]:
        """The places of the answers that fit best, in captured order."""
        fits = [(self._fit(a, method, target, digest), not a.get("spare")) for a in self.answers]
        most = max(fits, default=(0, False))
        return [i for i, fit in enumerate(fits) if fit == most and fit[0]]

    @staticmethod
    def _fit(answer: dict[str, Any], method: str, target: str, digest: str) -> int:
        if answer["method"].upper() != method.upper():
            return 0
        if answer["target"].partition("?")[0] != target.partition("?")[0]:
            return 0
        if answer["target"] != target:
            return 1
        if answer.get("request_body") is None:
            return 3
        return 4 if answer["request_body"] == digest else 2


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Stub
    timeout = 300

    def _replay(self) -> None:
        body = self._body()
        answer = self.server.answers.find(self.command, self.path, body)
        if answer is None:
            self._send(502, [("Content-Type", "text/plain")], b"nothing was captured for this call\n")
            return
        self.server.stopping.wait(float(answer.get("delay_s") or 0))
        ended = answer.get("ended")
        if ended == "timeout":
            self.server.stopping.wait(3600)
        if ended in ("reset", "refused"):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if ended or answer.get("status") is None:
            self.close_connection = True
            return
        content = Path(answer["body"]).read_bytes() if answer.get("body") else b""
        self._send(int(answer["status"]), [(n, v) for n, v in answer.get("headers") or []], content)

    def _body(self) -> bytes:
        if "chunked" in (self.headers.get("Transfer-Encoding") or "").lower():
            return b"".join(self._chunks())
        length = int(self.headers.get("Content-Length") or 0)
        return self.rfile.read(min(length, _MAXIMUM_BODY))

    def _chunks(self) -> list[bytes]:
        parts = []
        while size := int(self.rfile.readline(1024).split(b";")[0] or b"0", 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline(1024)
        while self.rfile.readline(65536).strip():
            continue
        return parts

    def _send(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        if status >= 200 and status not in (204, 304):
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD" and status not in (204, 304):
            self.wfile.write(content)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):  # any method: what was captured decides
            return self._replay
        raise AttributeError(name)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Say nothing: spans of the callers tell what was called."""

    def handle(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().handle()


class Stub(socketserver.ThreadingTCPServer):
    """One downstream on a port of 127.0.0.1; started by `start`, ended by `stop`."""

    daemon_threads = True
    allow_reuse_address = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, port: int, answers: list[dict[str, Any]]) -> None:
        self.answers = Answers(answers)
        self.stopping = threading.Event()
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Serve in the background."""
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def stop(self) -> None:
        """Stop serving; waiting calls are let go."""
        self.stopping.set()
        self.shutdown()
        self.server_close()

    def shutdown_request(self, request: Any) -> None:
        """Close without the orderly shutdown, which would turn a reset into an ordinary end."""
        request.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that gives up is part of what is replayed, not an error."""


def refuses(answers: list[dict[str, Any]]) -> bool:
    """Whether a downstream refused every call that is replayed: then its port has nobody listening."""
    own = [a for a in answers if not a.get("spare")] or answers
    return bool(own) and all(a.get("ended") == "refused" for a in own)


def start(port: int, answers: list[dict[str, Any]]) -> Stub | None:
    """Start a stub, or leave the port closed where every call was refused; retries a port in TIME_WAIT briefly."""
    if refuses(answers):
        return None
    for _ in range(50):
        try:
            stub = Stub(port, answers)
        except OSError:
            time.sleep(0.02)
            continue
        stub.start()
        return stub
    raise OSError(f"port {port} is taken")
