"""A client that sends a request exactly as written and says exactly how the answer ended. Standard library only.

Answer.status    the status line's number; None when none came
Answer.ended     `timeout` the client gave up; `closed` no (valid) answer came; `refused` nobody listened
Answer.complete  False when the body broke off (or anything above happened)
"""

from __future__ import annotations

import contextlib
import http.client
import io
import re
import socket
import threading
import time
from typing import Any

MAXIMUM_BODY = 64 << 20
"""Bytes of an answer that are kept; the rest is counted only."""
_CHUNK = 1 << 16


class Answer:
    """What came back for one request; `seconds` is wall time from before connecting to the last byte or the end."""

    # no dataclass: importing that module costs a play more than all the rest of this one
    def __init__(self, headers: list[tuple[str, str]] | None = None, body: bytes = b"") -> None:
        self.status: int | None = None
        self.ended: str | None = None
        self.headers = headers or []
        self.body = body
        self.body_bytes = len(body)
        self.complete = False
        self.seconds = 0.0
        self.start_ns = time.time_ns()


def exchange(
    port: int, method: str, target: str, headers: list[tuple[str, str]], body: bytes | None, timeout: float
) -> Answer:
    """Send one request to 127.0.0.1:`port` and read the answer; `timeout` bounds all of it, in seconds."""
    answer = Answer()
    start = time.monotonic()
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=timeout) as connection:
            _converse(connection, method, _encode(port, method, target, headers, body), answer, start + timeout)
    except TimeoutError:
        answer.ended = "timeout"
    except ConnectionRefusedError:
        answer.ended = "refused"
    except OSError:
        answer.ended = "closed"
    answer.seconds = time.monotonic() - start
    return answer


def listens(port: int) -> bool:
    """Whether something accepts connections on 127.0.0.1:`port`."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _encode(port: int, method: str, target: str, headers: list[tuple[str, str]], body: bytes | None) -> bytes:
    """The bytes on the wire: the headers as given; Host and the body's length are added where they lack."""
    names = {name.lower() for name, _ in headers}
    chunked = any(n.lower() == "transfer-encoding" and "chunked" in v.lower() for n, v in headers)
    lines = [f"{method} {target} HTTP/1.1"]
    if "host" not in names:
        lines.append(f"Host: 127.0.0.1:{port}")
    for name, value in headers:
        if name.lower() == "content-length":
            value = str(len(body or b""))  # noqa: PLW2901 - values that were filled in change the length
        lines.append(f"{name}: {value}")
    if not chunked and "content-length" not in names and (body or method.upper() in ("POST", "PUT", "PATCH")):
        lines.append(f"Content-Length: {len(body or b'')}")
    content = body or b""
    if chunked:
        content = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content) if content else b"0\r\n\r\n"
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + content


def _converse(connection: socket.socket, method: str, message: bytes, answer: Answer, deadline: float) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # Socket timeouts bound one read each; the alarm bounds the whole exchange.
    alarm = _Alarm(connection, deadline)
    try:
        # A server may answer early and close: what it said still counts.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(message)
        response = _begin(connection, method)
        answer.status, answer.headers = response.status, response.getheaders()
        answer.complete = _read_body(response, answer)
    except (OSError, http.client.HTTPException):
        if time.monotonic() >= deadline or alarm.rang:
            raise TimeoutError from None
        if answer.status is None:
            answer.ended = "closed"
    finally:
        alarm.cancel()
    if alarm.rang:
        answer.complete, answer.ended = False, "timeout"


def _begin(connection: socket.socket, method: str) -> http.client.HTTPResponse:
    """Read status line and headers; raises where they break off, which http.client takes for their end."""
    response = http.client.HTTPResponse(connection, method=method)
    lines = _Lines(response.fp)
    response.fp = lines  # type: ignore[assignment]
    response.begin()
    if lines.last not in (b"\r\n", b"\n"):
        raise http.client.IncompleteRead(b"")
    if response.fp is not None:  # None: no body follows
        response.fp = lines.file
    return response


class _Lines:
    """A file that remembers the last line that was read from it."""

    def __init__(self, file: io.BufferedReader) -> None:
        self.file, self.last = file, b""

    def readline(self, limit: int = -1) -> bytes:
        self.last = self.file.readline(limit)
        return self.last

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def _read_body(response: http.client.HTTPResponse, answer: Answer) -> bool:
    """Read to the end; whether it came as promised by Content-Length or the last chunk. Keeps what came."""
    kept = io.BytesIO()
    try:
        while part := response.read1(_CHUNK):
            answer.body_bytes += len(part)
            if kept.tell() < MAXIMUM_BODY:
                kept.write(part)
        return not response.length
    finally:
        answer.body = kept.getvalue()


class _Alarm:
    """Shuts a connection down at a deadline (monotonic seconds), so that a blocked read or write ends."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self.rang = False
        self._connection = connection
        self._timer = threading.Timer(max(deadline - time.monotonic(), 0.0), self._ring)
        self._timer.daemon = True
        self._timer.start()

    def _ring(self) -> None:
        self.rang = True
        try:
            self._connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it ended at the same moment

    def cancel(self) -> None:
        self._timer.cancel()


class Memory:
    """What answers leave for later requests: cookies, and values saved under names, used as {{NAME}}."""

    def __init__(self, names: set[str]) -> None:
        self.names = names - {"cookies"}
        self._cookies: dict[str, str] = {}
        self._values: dict[str, str] = {}
        self._lock = threading.Lock()

    def missing(self, text: str) -> str:
        """A name that `text` uses and that no answer gave yet, or ""."""
        return next((n for n in sorted(self.names) if f"{{{{{n}}}}}" in text and n not in self._values), "")

    def fill(self, text: str) -> str:
        """`text` with every saved value put in."""
        for name, value in list(self._values.items()):
            text = text.replace(f"{{{{{name}}}}}", value)
        return text

    def headers(self, headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Headers with values put in, and the cookies unless the request brings its own."""
        filled = [(name, self.fill(value)) for name, value in headers]
        if self._cookies and not any(name.lower() == "cookie" for name, _ in filled):
            filled.append(("Cookie", "; ".join(f"{k}={v}" for k, v in list(self._cookies.items()))))
        return filled

    def save(self, wanted: dict[str, Any], answer: Answer) -> None:
        """Keep what a request's `save` asks for: `cookies: true`, `NAME: REGEX` (group 1 of a match in the body)."""
        text = answer.body.decode("utf-8", "replace") if wanted else ""
        with self._lock:
            for name, how in wanted.items():
                if name == "cookies":
                    self._keep_cookies(answer)
                elif found := re.search(str(how), text):
                    self._values[name] = found.group(1)

    def _keep_cookies(self, answer: Answer) -> None:
        for name, value in answer.headers:
            if name.lower() == "set-cookie":
                key, _, content = value.split(";", 1)[0].partition("=")
                self._cookies[key.strip()] = content.strip()
