"""A recording reverse proxy for one HTTP service: passes every byte on, and writes down what passed.

Standard library only and alone in its file, because it also runs as a script inside a sandbox:
`python edges.py --listen HOST:PORT --target HOST:PORT --spool DIR --service NAME [--payload-limit N]`.
Nothing is retried, waited for or rewritten but the request's `traceparent`; FIN and RST of either side are
passed on as FIN and RST. What it writes is the spool: `open-*`, `spans-*`, `payloads-*`, `bodies/`.
Uploads are buffered here up to `UPLOAD_BUFFER` so that a client that gives up is seen when it does.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import queue
import re
import secrets
import signal
import socket
import struct
import sys
import threading
import time
from collections import deque
from pathlib import Path
from typing import Any, TextIO

Headers = list[tuple[str, str]]

PAYLOAD_LIMIT = 33_554_432
UPLOAD_BUFFER = 67_108_864
HEAD_LIMIT = 262_144
GAVE_UP_GRACE_S = 0.2
"""A client that only half-closes still reads: its answer may come this long after its FIN and count as read."""
INTERIM_S = 1.0
"""A request open for longer is written down before it ends, so that a killed process does not lose it."""

_REQUEST = re.compile(rb"^([!#$%&'*+.^_`|~0-9A-Za-z-]+) (.+) HTTP/1\.([01])$")
_STATUS = re.compile(rb"^HTTP/1\.[01] (\d{3})(?: |$)")
_HEAD_END = re.compile(rb"\r?\n\r?\n")
_TRACEPARENT = re.compile(r"^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
_RESET = struct.pack("ii", 1, 0)


class Recording:
    """The content of one body: all of it is counted, the first `limit` bytes are kept."""

    def __init__(self, limit: int) -> None:
        self.limit, self.size, self.kept = limit, 0, 0
        self.parts: list[bytes] = []

    def add(self, part: bytes) -> None:
        """Take the next bytes of content."""
        room = self.limit - self.kept
        if room > 0 and part:
            self.parts.append(part[:room])
            self.kept += min(room, len(part))
        self.size += len(part)


class Body:
    """Follows a body's framing in a byte stream: which bytes are content, and where it ends.

    `kind` is `length`, `chunked` or `close`; `finished` is never true for `close`.
    """

    def __init__(self, kind: str, length: int, recording: Recording) -> None:
        self.kind, self.left, self.recording = kind, length, recording
        self.finished = kind == "length" and length == 0
        self.broken = False
        self._state, self._line = "size", b""

    def feed(self, data: bytes, start: int) -> int:
        """Consume from `start`; returns the first position that is not this body's."""
        while start < len(data) and not self.finished:
            if self.kind == "close":
                self.recording.add(data[start:])
                return len(data)
            if self.kind == "length" or self._state == "data":
                start = self._content(data, start)
            else:
                start = self._chunk_line(data, start)
        return start

    def _content(self, data: bytes, start: int) -> int:
        part = data[start : start + self.left]
        self.recording.add(part)
        self.left -= len(part)
        if self.left == 0:
            self.finished = self.kind == "length"
            self._state = "gap"
        return start + len(part)

    def _chunk_line(self, data: bytes, start: int) -> int:
        end = data.find(b"\n", start)
        self._line += data[start:] if end < 0 else data[start:end]
        if end < 0:
            self.broken = self.broken or len(self._line) > HEAD_LIMIT
            return len(data)
        line, self._line = self._line.strip(), b""
        if self._state == "gap":
            self._state = "size"
        elif self._state == "trailer":
            self.finished = not line
        else:
            self._chunk_size(line)
        return end + 1

    def _chunk_size(self, line: bytes) -> None:
        try:
            self.left = int(line.split(b";")[0], 16)
        except ValueError:
            self.broken, self.kind = True, "close"
            return
        self._state = "data" if self.left else "trailer"


class Exchange:
    """One request and what came of it. Times are Unix nanoseconds."""

    def __init__(self, method: str, target: str, version: str, headers: Headers, limit: int) -> None:
        self.method, self.target, self.version, self.headers = method, target, version, headers
        found = _TRACEPARENT.match(field(headers, "traceparent"))
        self.trace_id = found.group(1) if found else secrets.token_hex(16)
        self.parent, self.flags = (found.group(2), found.group(3)) if found else ("", "01")
        self.span_id = secrets.token_hex(8)
        self.start_ns = time.time_ns()
        self.end_ns: int | None = None
        self.request, self.answer = Recording(limit), Recording(limit)
        self.request_whole = False
        self.status: int | None = None
        self.answer_headers: Headers = []
        self.ended: str | None = None
        self.reset = False
        self.written = False
        self.peer = ""

    @property
    def traceparent(self) -> str:
        """What the service is told: this trace, with the edge's own span as parent."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"

    def end(self, ended: str | None, at_ns: int | None = None) -> None:
        """Fix how it ended: None (whole answer), `closed`, `truncated` or `timeout` (the client gave up)."""
        if self.end_ns is None:
            self.ended = ended
            self.end_ns = at_ns or time.time_ns()


def field(headers: Headers, name: str) -> str:
    """The first value of a header, or an empty text."""
    return next((value for key, value in headers if key.lower() == name), "")


def parse_headers(lines: list[bytes]) -> Headers:
    """Header lines as pairs; a folded line belongs to the one before it."""
    headers: Headers = []
    for line in lines:
        text = line.decode("latin-1").rstrip("\r")
        if text[:1] in {" ", "\t"} and headers:
            headers[-1] = (headers[-1][0], f"{headers[-1][1]} {text.strip()}")
        elif text:
            name, _, value = text.partition(":")
            headers.append((name.strip(), value.strip()))
    return headers


def framing(headers: Headers, otherwise: str, recording: Recording) -> Body:
    """The framing that the headers announce; `otherwise` is `close` for answers and `length` for requests."""
    if "chunked" in field(headers, "transfer-encoding").lower():
        return Body("chunked", 0, recording)
    length = field(headers, "content-length")
    if length.isascii() and length.isdigit():
        return Body("length", int(length), recording)
    body = Body(otherwise, 0, recording)
    body.broken = bool(length) and otherwise == "length"
    return body


class Spool:
    """Writes the records of this process on a thread of its own; one JSON object per line, flushed per line."""

    def __init__(self, folder: Path, service: str, port: int) -> None:
        self.folder, self.service, self.port = folder, service, port
        (folder / "bodies").mkdir(parents=True, exist_ok=True)
        tail = f"{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        self._files: dict[str, TextIO] = {
            kind: (folder / f"{kind}-{tail}").open("a", buffering=1, encoding="utf-8")
            for kind in ("open", "spans", "payloads")
        }
        self._notes = folder / f"edge-{tail[:-1]}"
        self._queue: queue.SimpleQueue[tuple[str, Exchange] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def put(self, step: str, exchange: Exchange) -> None:
        """Queue `open`, `interim` or `end` of an exchange."""
        self._queue.put((step, exchange))

    def note(self, counts: dict[str, int]) -> None:
        """Replace the edge's own facts: what it passed on without reading it."""
        temporary = self._notes.with_suffix(".tmp")
        temporary.write_text(json.dumps({"service": self.service, "pid": os.getpid(), **counts}))
        temporary.replace(self._notes)

    def close(self) -> None:
        """Write what is queued."""
        self._queue.put(None)
        self._thread.join(10)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                self._write(*item)
            except OSError as error:  # a full disk must not stop the traffic
                say(f"edge: a record was lost: {error}", sys.stderr)

    def _write(self, step: str, exchange: Exchange) -> None:
        if step == "open":
            self._line("open", self._span(exchange))
            return
        self._line("payloads", self._payload(exchange, whole=step == "end"))
        if step == "end":
            self._line("spans", self._span(exchange))

    def _line(self, kind: str, value: dict[str, Any]) -> None:
        self._files[kind].write(json.dumps(value, separators=(",", ":")) + "\n")

    def _store(self, recording: Recording) -> str | None:
        parts = list(recording.parts)
        if not parts:
            return None
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        path = self.folder / "bodies" / digest.hexdigest()
        if not path.exists():
            temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
            with temporary.open("wb") as file:
                file.writelines(parts)
            temporary.replace(path)
        return path.name

    def _payload(self, exchange: Exchange, *, whole: bool) -> dict[str, Any]:
        request, answer = exchange.request, exchange.answer
        return {
            "trace_id": exchange.trace_id,
            "span_id": exchange.span_id,
            "role": "edge",
            "service": self.service,
            "method": exchange.method,
            "target": exchange.target,
            "request_headers": exchange.headers,
            "request_body": self._store(request),
            "request_bytes": request.size,
            "request_truncated": request.size > request.kept or (whole and not exchange.request_whole),
            "status": exchange.status,
            "answer_headers": exchange.answer_headers,
            "answer_body": self._store(answer),
            "answer_bytes": answer.size,
            "answer_truncated": answer.size > answer.kept,
            "complete": whole and exchange.ended is None,
            "ended": exchange.ended if exchange.ended != "truncated" else None,
            "start_ns": exchange.start_ns,
            "end_ns": exchange.end_ns if whole else None,
            "peer": exchange.peer or None,
        }

    def _span(self, exchange: Exchange) -> dict[str, Any]:
        span: dict[str, Any] = {
            "traceId": exchange.trace_id,
            "spanId": exchange.span_id,
            "name": exchange.method,
            "kind": 2,
            "startTimeUnixNano": str(exchange.start_ns),
            "attributes": [attribute(k, v) for k, v in self._attributes(exchange).items() if v is not None],
        }
        if exchange.parent:
            span["parentSpanId"] = exchange.parent
        if exchange.end_ns is not None:
            failed = exchange.ended or (exchange.status or 0) >= 500
            span |= {"endTimeUnixNano": str(exchange.end_ns), "status": {"code": 2} if failed else {}}
        resource = {"attributes": [attribute("service.name", self.service)]}
        scope = {"scope": {"name": "butfor.edge"}, "spans": [span]}
        return {"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]}

    def _attributes(self, exchange: Exchange) -> dict[str, str | int | bool | None]:
        path, _, query = exchange.target.partition("?")
        ended, status = exchange.ended, exchange.status
        error = {"truncated": "closed"}.get(ended, ended) if ended else None
        return {
            "butfor.edge": True,
            "http.request.method": exchange.method,
            "url.path": path,
            "url.query": query or None,
            "network.protocol.version": exchange.version,
            "server.port": self.port,
            "http.request.body.size": exchange.request.size or None,
            "http.response.status_code": status,
            "http.response.body.size": exchange.answer.size if status else None,
            "error.type": error or (str(status) if (status or 0) >= 500 else None),
            "butfor.ended": ended,
            "butfor.reset": True if exchange.reset else None,
        }


def attribute(key: str, value: str | int | bool) -> dict[str, Any]:
    """One OTLP/JSON attribute."""
    if isinstance(value, bool):
        return {"key": key, "value": {"boolValue": value}}
    return {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}


def say(line: str, stream: TextIO) -> None:
    """One line for whoever started the edge."""
    stream.write(line + "\n")
    stream.flush()


def rewritten(head: bytes, traceparent: str) -> bytes:
    """The request's head with this `traceparent`, in its old place or last; every other byte stays."""
    lines = head.split(b"\n")
    ours = b"traceparent: " + traceparent.encode() + (b"\r" if lines[0].endswith(b"\r") else b"")
    old = [n for n, line in enumerate(lines) if line[:12].lower() == b"traceparent:"]
    for n in reversed(old):
        del lines[n]
    lines.insert(old[0] if old else len(lines) - 2, ours)
    return b"\n".join(lines)


class Side(asyncio.Protocol):
    """One socket of a connection; what happens on it is told to the connection."""

    transport: asyncio.Transport | None = None
    eof = False

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    @property
    def other(self) -> Side:
        """The socket on the other side."""
        return self.connection.server if self is self.connection.client else self.connection.client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; a client's bytes wait until the service has accepted."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        if self is self.connection.client:
            transport.pause_reading()
            self.connection.start()

    def data_received(self, data: bytes) -> None:
        """Pass on and follow."""
        (self.connection.from_client if self is self.connection.client else self.connection.from_server)(data)

    def eof_received(self) -> bool:
        """Pass a FIN on; the other direction stays open, as it does without an edge."""
        self.eof = True
        self.connection.finished(self)
        if self.other.eof:
            self.close()
            self.other.close()
        elif self.other.transport and not self.other.transport.is_closing():
            self.other.transport.write_eof()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass a reset on."""
        if exc is not None:
            self.connection.finished(self, reset=True)
        if self is self.connection.client:
            self.connection.edge.connections.discard(self.connection)
        self.other.close(reset=exc is not None)

    def pause_writing(self) -> None:
        """Let the sender feel that the receiver is slow."""
        if self.other.transport:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        """Read again."""
        if self.other.transport and not self.other.eof:
            self.other.transport.resume_reading()

    def write(self, data: bytes) -> None:
        """Send, unless this side is gone."""
        if self.transport and not self.transport.is_closing() and data:
            self.transport.write(data)

    def close(self, *, reset: bool = False) -> None:
        """Close after what is queued was sent; `reset` closes with RST."""
        if self.transport and not self.transport.is_closing():
            if reset:
                with contextlib.suppress(OSError):
                    sock = self.transport.get_extra_info("socket")
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.close()


class Connection:
    """A client's connection and its twin to the service, and the exchanges that are under way on it."""

    def __init__(self, edge: Edge) -> None:
        self.edge = edge
        self.client, self.server = Side(self), Side(self)
        self.open: deque[Exchange] = deque()  # not written down yet, oldest first
        self.unanswered: deque[Exchange] = deque()
        self.sending: Exchange | None = None
        self.request_body: Body | None = None
        self.answer_body: Body | None = None
        self.request_head = self.answer_head = b""
        self.raw_client = self.raw_server = False  # that side's bytes are passed on without being read
        self.gone_ns: int | None = None
        self.sent_after_gone = False
        self.connecting: asyncio.Task[None] | None = None

    def start(self) -> None:
        """A client connected: connect to the service."""
        self.edge.connections.add(self)
        self.connecting = asyncio.get_running_loop().create_task(self._connect())

    async def _connect(self) -> None:
        assert self.client.transport
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.server, *self.edge.target)
            assert self.server.transport
            self.server.transport.set_write_buffer_limits(high=UPLOAD_BUFFER)
            self.edge.was_up = True
            self.client.transport.resume_reading()
        except OSError:  # refused: before the service was ever up this is no failure of it
            if self.edge.was_up:
                self.client.transport.resume_reading()
                await asyncio.sleep(0.05)
            self.finished(self.server, reset=True)
            self.client.close(reset=True)

    def from_client(self, data: bytes) -> None:
        """Pass a request's bytes on, heads with our `traceparent`."""
        out: list[bytes] = []
        at = 0
        while at < len(data) and not self.raw_client:
            if self.request_body is None:
                at = self._request_head(data, at, out)
                continue
            end = self.request_body.feed(data, at)
            out.append(data[at:end])
            at = end
            self._request_progress(self.request_body)
        if at < len(data):
            out.append(data[at:])
        self.server.write(out[0] if len(out) == 1 else b"".join(out))

    def _request_head(self, data: bytes, at: int, out: list[bytes]) -> int:
        whole = self.request_head + data[at:]
        head = whole.lstrip(b"\r\n")
        first, newline, _ = head.partition(b"\n")
        parsed = _REQUEST.match(first.rstrip(b"\r"))
        end = _HEAD_END.search(head)
        if (newline and not parsed) or (head[:1] and not 32 < head[0] < 127) or (not end and len(head) > HEAD_LIMIT):
            return self._unread(whole, out, len(data))
        if not end or not parsed:
            self.request_head = whole
            return len(data)
        self.request_head = b""
        lines = head[: end.start()].split(b"\n")[1:]
        method, target, minor = (part.decode("latin-1") for part in parsed.groups())
        exchange = Exchange(method, target, f"1.{minor}", parse_headers(lines), self.edge.limit)
        out += [whole[: len(whole) - len(head)], rewritten(head[: end.end()], exchange.traceparent)]
        self._begin(exchange)
        return len(data) - (len(head) - end.end())

    def _unread(self, held: bytes, out: list[bytes], length: int) -> int:
        self.raw_client, self.request_head = True, b""
        self.edge.unread += 1
        self.edge.spool.note({"unread_connections": self.edge.unread})
        out.append(held)
        return length

    def _begin(self, exchange: Exchange) -> None:
        address = self.client.transport.get_extra_info("peername") if self.client.transport else None
        exchange.peer = f"{address[0]}:{address[1]}" if address else ""
        self.open.append(exchange)
        self.unanswered.append(exchange)
        self.edge.spool.put("open", exchange)
        asyncio.get_running_loop().call_later(INTERIM_S, self._interim, exchange)
        self.sending = exchange
        self.request_body = framing(exchange.headers, "length", exchange.request)
        self._request_progress(self.request_body)

    def _interim(self, exchange: Exchange) -> None:
        if not exchange.written:
            self.edge.spool.put("interim", exchange)

    def _request_progress(self, body: Body) -> None:
        if body.broken:
            self.raw_client = True
        if body.finished and self.sending:
            self.sending.request_whole = True
            self.request_body = self.sending = None
            self._settle()

    def from_server(self, data: bytes) -> None:
        """Pass an answer's bytes on, then follow them."""
        self.client.write(data)
        self.sent_after_gone = self.gone_ns is not None
        at = 0
        while at < len(data) and self.unanswered and not self.raw_server:
            body = self.answer_body
            at = self._answer_head(data, at) if body is None else body.feed(data, at)
            if self.answer_body is not None and self.answer_body.finished:
                self._answered()

    def _answer_head(self, data: bytes, at: int) -> int:
        self.answer_head += data[at:]
        end, parsed = _HEAD_END.search(self.answer_head), _STATUS.match(self.answer_head)
        if not end:
            self.raw_server = len(self.answer_head) > HEAD_LIMIT
            return len(data)
        head, rest = self.answer_head[: end.start()], len(self.answer_head) - end.end()
        self.answer_head = b""
        status = int(parsed.group(1)) if parsed else 0
        if not 100 <= status < 200 or status == 101:
            self._answer_begins(status, parse_headers(head.split(b"\n")[1:]))
        return len(data) - rest

    def _answer_begins(self, status: int, headers: Headers) -> None:
        exchange = self.unanswered[0]
        exchange.status, exchange.answer_headers = status or None, headers
        if status == 101 or (exchange.method == "CONNECT" and 200 <= status < 300):
            self.raw_client = self.raw_server = True
        if exchange.method == "HEAD" or status in {204, 304}:
            self.answer_body = Body("length", 0, exchange.answer)
        else:
            self.answer_body = framing(headers, "close", exchange.answer)

    def _answered(self) -> None:
        self.answer_body = None
        exchange = self.unanswered.popleft()
        left = self.gone_ns is not None and self._client_refuses()
        exchange.end("timeout" if left else None, self.gone_ns if left else None)
        self._settle()

    def _client_refuses(self) -> bool:
        sock = self.client.transport and self.client.transport.get_extra_info("socket")
        return not sock or sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0

    def _settle(self) -> None:
        while self.open and self.open[0].end_ns is not None and self.open[0].request_whole:
            self._write(self.open.popleft())

    def _write(self, exchange: Exchange) -> None:
        exchange.written = True
        self.edge.spool.put("end", exchange)

    def finished(self, side: Side, *, reset: bool = False) -> None:
        """A side sent its last byte, or was reset: what is unanswered ends, at once or after the grace."""
        if side is self.client and not reset:
            self.gone_ns = self.gone_ns or time.time_ns()
            asyncio.get_running_loop().call_later(GAVE_UP_GRACE_S, self._all_end, "timeout")
        elif side is self.client:
            self._all_end("timeout")
        else:
            self._all_end("closed", reset=reset, whole=not reset and self._ends_by_closing())

    def _ends_by_closing(self) -> bool:
        """Whether the service's FIN is the proper end of its answer, and the client still read it."""
        body = self.answer_body
        read = self.gone_ns is None or (self.sent_after_gone and not self._client_refuses())
        return body is not None and body.kind == "close" and not body.broken and read

    def _all_end(self, ended: str, *, reset: bool = False, whole: bool = False) -> None:
        while self.open:
            exchange = self.open.popleft()
            how: str | None = "timeout" if self.gone_ns else ended
            if whole or exchange.status == 101:
                how = None
            elif how == "closed" and exchange.status is not None:
                how = "truncated"
            exchange.reset = exchange.reset or (reset and exchange.end_ns is None)
            exchange.end(how, self.gone_ns if how == "timeout" else None)
            self._write(exchange)
            whole = False
        if ended != "timeout" or not self.gone_ns:
            self.unanswered.clear()


class Edge:
    """What all connections of one edge share."""

    def __init__(self, target: tuple[str, int], spool: Spool, limit: int) -> None:
        self.target, self.spool, self.limit = target, spool, limit
        self.was_up = False
        self.unread = 0
        self.connections: set[Connection] = set()

    def interrupted(self) -> None:
        """The edge ends first: what is under way is written as far as it came and stays unfinished."""
        for connection in self.connections:
            for exchange in connection.open:
                self.spool.put("interim", exchange)


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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", type=address, required=True)
    parser.add_argument("--target", type=address, required=True)
    parser.add_argument("--spool", type=Path, required=True)
    parser.add_argument("--service", required=True)
    parser.add_argument("--payload-limit", type=int, default=PAYLOAD_LIMIT)
    parser.add_argument("--until-stdin-closes", action="store_true")
    given = parser.parse_args()
    try:
        spool = Spool(given.spool, given.service, given.listen[1])
        edge = Edge(given.target, spool, given.payload_limit)
        asyncio.run(serve(given.listen, edge, until_stdin_closes=given.until_stdin_closes))
    except OSError as error:
        say(f"edge: {error}; choose another --listen or --spool", sys.stderr)
        return 2
    spool.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
