"""One outgoing HTTP call: its client span, its message pair, and the `traceparent` that it carries."""

from __future__ import annotations

import time
from typing import Any

from butfor_inject import contexts, failures, publishing, records, tracers
from butfor_inject.bodies import Body
from butfor_inject.boundaries import attempt
from butfor_inject.exchanges import Headers
from butfor_inject.recorders import recorder
from butfor_inject.texts import attributes, pairs

_REFUSED = ("ConnectionRefusedError", "ClientConnectorError", "ConnectError", "gaierror", "NewConnectionError")


class Call:
    """A client span in the making. `ids` are another tracer's when the request carried a `traceparent` already."""

    __slots__ = (
        "answer", "answer_headers", "ended", "error", "finished", "headers", "ids", "method", "own", "parent_id",
        "request", "start_ns", "status", "url",
    )  # fmt: skip

    def __init__(self, method: str, url: str) -> None:
        self.start_ns = time.time_ns()
        self.method, self.url = method, url
        self.ids, self.parent_id = _ids()
        self.own = True
        self.headers: Headers = ()
        spool = recorder().spool
        self.request, self.answer = Body(spool), Body(spool)
        self.status: int | None = None
        self.answer_headers: Headers = ()
        self.ended: str | None = None
        self.error: BaseException | None = None
        self.finished = False

    @property
    def traceparent(self) -> str:
        """What the request should carry."""
        return f"00-{self.ids[0]}-{self.ids[1]}-01"

    def carries(self, traceparent: str | None) -> bool:
        """Take over the ids of a request that is traced already; True if it is."""
        known = contexts.parse(traceparent) if traceparent else None
        if known is None:
            return False
        if known != self.ids:
            self.ids, self.own = known, False
        return True

    def reading(self) -> publishing.Showing:
        """While the answer's body is read: another tracer's span ended with the headers, ours lasts."""
        return publishing.Showing(self.ids if self.own else None)

    def failed(self, error: BaseException) -> None:
        """The call ended without a whole answer."""
        self.error = error
        name = type(error).__name__
        if isinstance(error, TimeoutError) or "timeout" in name.lower() or name == "CancelledError":
            self.ended = "timeout"
        elif name in _REFUSED:
            self.ended = "no answer"
        else:
            self.ended = "closed"
        self.end()

    def end(self) -> None:
        """Write it; a second call does nothing."""
        if not self.finished:
            self.finished = True
            attempt("call", self._write)

    def _write(self) -> None:
        end_ns = time.time_ns()
        told = {
            "status": self.status,
            "answer_headers": pairs(self.answer_headers),
            "complete": self.ended is None and self.status is not None,
            "ended": self.ended,
            "start_ns": self.start_ns,
            "end_ns": end_ns,
            "peer": _origin(self.url),
        }
        service = recorder().settings.service
        asked = (self.method, self.url, self.headers)
        pair = records.message_pair("client", service, self.ids, asked, told, self.request, self.answer)
        recorder().spool.payload(pair)
        if self.own:
            recorder().spool.span(self._span(end_ns))

    def _span(self, end_ns: int) -> dict[str, Any]:
        failed = self.ended or (self.status or 0) >= 400
        kind = failures.type_name(type(self.error)) if self.error is not None else str(self.status)
        host, _, port = _origin(self.url).rpartition(":")
        values = {
            "http.request.method": self.method,
            "url.full": self.url,
            "server.address": host,
            "server.port": int(port) if port.isdigit() else None,
            "http.response.status_code": self.status,
            "error.type": kind if failed else None,
            "butfor.ended": self.ended,
        }
        return {
            "traceId": self.ids[0],
            "spanId": self.ids[1],
            "parentSpanId": self.parent_id,
            "name": self.method,
            "kind": records.CLIENT,
            "startTimeUnixNano": str(self.start_ns),
            "endTimeUnixNano": str(end_ns),
            "attributes": attributes(values),
            "status": {"code": records.ERROR} if failed else {},
        }


def _ids() -> tuple[tuple[str, str], str]:
    """Ids of a new client span, and its parent's."""
    exchange = contexts.current.get()
    parent = tracers.ids_now() or (exchange.ids if exchange is not None else None)
    trace_id = parent[0] if parent else contexts.new_id(16)
    return (trace_id, contexts.new_id(8)), parent[1] if parent else ""


def _origin(url: str) -> str:
    """`host:port` of a URL."""
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0].rpartition("@")[2]
    return host if ":" in host.rpartition("]")[2] else f"{host}:{443 if scheme == 'https' else 80}"


def unchunked(data: bytes) -> bytes:
    """The body inside HTTP's chunk framing; what is not framed stays as it is."""
    pieces: list[bytes] = []
    place = 0
    while True:
        end = data.find(b"\r\n", place)
        if end < 0:
            return b"".join(pieces) if pieces else data
        size = data[place:end].split(b";")[0].strip()
        try:
            length = int(size, 16)
        except ValueError:
            return b"".join(pieces) if pieces else data
        if length == 0:
            return b"".join(pieces)
        pieces.append(data[end + 2 : end + 2 + length])
        place = end + 2 + length + 2
