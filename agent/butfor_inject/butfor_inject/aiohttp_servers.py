"""aiohttp.web on its own server, watched at its protocol: also what happens after the handler returned is seen."""

from __future__ import annotations

import asyncio
from typing import Any

from butfor_inject import publishing
from butfor_inject.boundaries import attempt
from butfor_inject.contexts import copied, current, task_now
from butfor_inject.exchanges import Exchange
from butfor_inject.recorders import recorder

_writing: dict[int, Exchange] = {}
"""Open exchanges by the identity of the writer that their answer goes through."""
_serving: dict[int, Exchange] = {}
"""Open exchanges by the identity of their protocol."""
reading: dict[int, Any] = {}
"""Body takers (`add(data)`, `eof()`) by the identity of the stream that a body arrives in."""


def web_protocol(module: Any) -> None:
    """aiohttp.web_protocol: a request begins when it is made, and ends when its answer was finished or failed."""
    handler = module.RequestHandler
    original = handler.__init__

    def __init__(self: Any, *arguments: Any, **named: Any) -> None:  # noqa: N807
        original(self, *arguments, **named)
        attempt("aiohttp", _watch_factory, self)

    handler.__init__ = copied(__init__, original)
    if hasattr(handler, "_handle_request"):
        handler._handle_request = _handling(handler._handle_request)  # noqa: SLF001 - there is no public door
    handler.start = _starting(handler.start)
    handler.connection_lost = _losing(handler.connection_lost)


def _watch_factory(protocol: Any) -> None:
    factory = protocol._request_factory  # noqa: SLF001 - there is no public door

    def make(message: Any, payload: Any, owner: Any, writer: Any, *rest: Any, **named: Any) -> Any:
        request = factory(message, payload, owner, writer, *rest, **named)
        attempt("aiohttp", _begin, request, message, payload, owner, writer)
        return request

    protocol._request_factory = make  # noqa: SLF001


def _begin(request: Any, message: Any, payload: Any, protocol: Any, writer: Any) -> None:
    transport = protocol.transport
    address = transport.get_extra_info("sockname") if transport is not None else None
    peer = transport.get_extra_info("peername") if transport is not None else None
    exchange = recorder().begin(
        message.method,
        str(message.path),
        [(k.decode("latin-1"), v.decode("utf-8", "surrogateescape")) for k, v in message.raw_headers],
        peer=peer[0] if isinstance(peer, tuple) else None,
        port=address[1] if isinstance(address, tuple) else None,
        version=".".join(str(n) for n in message.version),
        find_route=lambda: route_of(request),
    )
    if exchange is None:
        return
    exchange.connection = (writer, payload, protocol)
    exchange.loop, exchange.task = asyncio.get_running_loop(), task_now()
    _writing[id(writer)] = _serving[id(protocol)] = exchange
    take(payload, exchange.request)
    current.set(exchange)


def take(stream: Any, taker: Any) -> None:
    """Hand what the stream holds already, and what will be fed to it, to `taker.add`."""
    for piece in list(getattr(stream, "_buffer", ())):
        taker.add(piece)
    if hasattr(stream, "feed_data") and hasattr(stream, "_buffer"):
        reading[id(stream)] = taker


def _handling(original: Any) -> Any:
    async def _handle_request(self: Any, *arguments: Any, **named: Any) -> Any:
        exchange = current.get()
        if exchange is None or exchange.finished:
            return await original(self, *arguments, **named)
        exchange.task = task_now() or exchange.task
        # not where the request begins: that is in the connection's own context, which outlives it
        shown = publishing.show(exchange.ids)
        try:
            return await original(self, *arguments, **named)
        except BaseException as error:
            attempt("aiohttp", _escaped, exchange, error)
            raise
        finally:
            attempt("aiohttp", _end, exchange)
            publishing.restore(shown)

    return copied(_handle_request, original)


def _starting(original: Any) -> Any:
    async def start(self: Any, *arguments: Any, **named: Any) -> Any:
        try:
            return await original(self, *arguments, **named)
        finally:
            exchange = current.get()
            if exchange is not None and not exchange.finished:
                attempt("aiohttp", _end, exchange)

    return copied(start, original)


def _losing(original: Any) -> Any:
    def connection_lost(self: Any, *arguments: Any, **named: Any) -> Any:
        exchange = _serving.get(id(self))
        if exchange is not None and not _closed_by_us(self):
            exchange.client_left()
        return original(self, *arguments, **named)

    return copied(connection_lost, original)


def _closed_by_us(protocol: Any) -> bool:
    return protocol.transport is None or bool(getattr(protocol, "_force_close", False))


def _escaped(exchange: Exchange, error: BaseException) -> None:
    if isinstance(error, asyncio.CancelledError):
        exchange.client_left()
    elif isinstance(error, Exception) and not isinstance(error, ConnectionError):
        exchange.failed(error)


def _end(exchange: Exchange) -> None:
    writer, payload, protocol = exchange.connection or (None, None, None)
    _writing.pop(id(writer), None)
    reading.pop(id(payload), None)
    _serving.pop(id(protocol), None)
    recorder().end(exchange)


def http_writer(module: Any) -> None:
    """aiohttp.http_writer: the answer's way out; the client's requests take the same way and are left alone."""
    writer = module.StreamWriter
    _before(writer, "write_headers", _headers)
    _before(writer, "write", _written)
    _before(writer, "write_eof", _eof)


def _before(owner: Any, name: str, then: Any) -> None:
    original = getattr(owner, name)

    async def method(self: Any, *arguments: Any, **named: Any) -> Any:
        exchange = _writing.get(id(self))
        if exchange is None:
            return await original(self, *arguments, **named)
        attempt(name, then, exchange, *arguments)
        try:
            result = await original(self, *arguments, **named)
        except ConnectionError:
            if exchange.connection is not None and not _closed_by_us(exchange.connection[2]):
                exchange.client_left()
            raise
        if name == "write_eof":
            exchange.done()
        return result

    setattr(owner, name, copied(method, original))


def _headers(exchange: Exchange, status_line: str, headers: Any) -> None:
    exchange.answered(int(status_line.split()[1]), [(str(k), str(v)) for k, v in headers.items()])


def _written(exchange: Exchange, chunk: Any, *_rest: Any) -> None:
    exchange.sent(chunk)


def _eof(exchange: Exchange, chunk: Any = b"", *_rest: Any) -> None:
    if chunk:
        exchange.sent(chunk)


def streams(module: Any) -> None:
    """aiohttp.streams: where the parser puts the bodies."""
    reader = module.StreamReader
    feed, end = reader.feed_data, reader.feed_eof

    def feed_data(self: Any, data: Any, *rest: Any) -> Any:
        if reading:
            taker = reading.get(id(self))
            if taker is not None and data:
                attempt("feed", taker.add, data)
        return feed(self, data, *rest)

    def feed_eof(self: Any) -> Any:
        result = end(self)
        taker = reading.pop(id(self), None) if reading else None
        ended = getattr(taker, "eof", None)
        if ended is not None:
            attempt("feed", ended)
        return result

    reader.feed_data = copied(feed_data, feed)
    reader.feed_eof = copied(feed_eof, end)


def web_fileresponse(module: Any) -> None:
    """aiohttp.web_fileresponse: files go from the kernel to the socket and past the writer."""
    original = module.FileResponse._sendfile  # noqa: SLF001 - there is no public door

    async def _sendfile(self: Any, request: Any, fobj: Any, offset: int, count: int) -> Any:
        exchange = current.get()
        before = exchange.answer.size if exchange is not None else 0
        result = await original(self, request, fobj, offset, count)
        if exchange is not None and not exchange.finished and exchange.answer.size == before:
            attempt("sendfile", _file_sent, exchange, fobj, offset, count)
        return result

    module.FileResponse._sendfile = copied(_sendfile, original)  # noqa: SLF001


def _file_sent(exchange: Exchange, file: Any, offset: int, count: int) -> None:
    if exchange.method != "HEAD" and not file.closed:
        exchange.answer.add_file(file, offset, count)


def route_of(request: Any) -> str | None:
    """The template of the route that aiohttp chose."""
    match = getattr(request, "_match_info", None)  # None where no route was looked for
    resource = getattr(getattr(match, "route", None), "resource", None)
    return None if resource is None else str(resource.canonical)


HOOKS = [
    ("aiohttp.web_protocol", web_protocol),
    ("aiohttp.http_writer", http_writer),
    ("aiohttp.streams", streams),
    ("aiohttp.web_fileresponse", web_fileresponse),
]
