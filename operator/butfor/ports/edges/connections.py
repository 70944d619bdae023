"""A client's connection and its twin to the service: the exchanges in the two byte streams, and their ends."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from collections import deque

from .bodies import Body, framing
from .exchanges import Exchange
from .heads import HEAD_END, HEAD_LIMIT, REQUEST, STATUS, Headers, parse_headers, rewritten
from .sides import Side
from .spools import Spool

UPLOAD_BUFFER = 67_108_864
GAVE_UP_GRACE_S = 0.2
"""A client that only half-closes still reads: its answer may come this long after its FIN and count as read."""
INTERIM_S = 1.0
"""A request open for longer is written down before it ends, so that a killed process does not lose it."""

RETRY_S = 0.05
_TEXT = b"The service does not listen yet: the recording proxy of butfor has nobody to hand this request to.\n"
NOT_UP = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
    % (len(_TEXT), _TEXT)
)


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
            if not await self._reached(asyncio.get_running_loop().time() + self.edge.wait):
                return
            assert self.server.transport
            self.server.transport.set_write_buffer_limits(high=UPLOAD_BUFFER)
            self.edge.was_up = True
            self.client.transport.resume_reading()
        except OSError:  # refused: before the service was ever up this is no failure of it
            if self.edge.was_up:
                self.client.transport.resume_reading()
                await asyncio.sleep(0.05)
            elif self.edge.wait:
                await self._not_up()
                return
            self.finished(self.server, reset=True)
            self.client.close(reset=True)

    async def _reached(self, until: float) -> bool:
        """Connect; a service that was never up is waited for. False where the client has gone meanwhile."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                await loop.create_connection(lambda: self.server, *self.edge.target)
            except OSError:
                if self.edge.was_up or loop.time() >= until:
                    raise
            else:
                return True
            await asyncio.sleep(RETRY_S)
            if self._client_left():
                self.client.close()  # what nobody waits for any more is not to reach the service later
                return False

    def _client_left(self) -> bool:
        sock = self.client.transport and self.client.transport.get_extra_info("socket")
        if not sock or sock.fileno() < 0:
            return True
        left = select.poll()
        left.register(sock.fileno(), select.POLLRDHUP)
        return bool(left.poll(0))

    async def _not_up(self) -> None:
        """Say so in an answer of our own, which is no record of the service's."""
        assert self.client.transport
        self.raw_client = True
        self.client.write(NOT_UP)
        self.client.transport.resume_reading()  # closing over unread bytes would reset the answer away
        await asyncio.sleep(GAVE_UP_GRACE_S)
        self.client.close()

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
        parsed = REQUEST.match(first.rstrip(b"\r"))
        end = HEAD_END.search(head)
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
        end, parsed = HEAD_END.search(self.answer_head), STATUS.match(self.answer_head)
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
    """What all connections of one edge share. `wait`: seconds that a service which was never up is waited for."""

    def __init__(self, target: tuple[str, int], spool: Spool, limit: int, wait: float = 0.0) -> None:
        self.target, self.spool, self.limit, self.wait = target, spool, limit, wait
        self.was_up = False
        self.unread = 0
        self.connections: set[Connection] = set()

    def interrupted(self) -> None:
        """The edge ends first: what is under way is written as far as it came and stays unfinished."""
        for connection in self.connections:
            for exchange in connection.open:
                self.spool.put("interim", exchange)
