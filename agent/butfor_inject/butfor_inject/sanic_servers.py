"""sanic's own server, which is neither ASGI nor WSGI: the handler that its protocol calls for each request."""

from __future__ import annotations

import asyncio
from typing import Any

from butfor_inject.boundaries import attempt
from butfor_inject.contexts import copied, current, enter, leave, task_now
from butfor_inject.exchanges import Exchange
from butfor_inject.recorders import recorder


def http_protocol(module: Any) -> None:
    """sanic.server.protocols.http_protocol: sanic recompiles its own methods, so the instance is watched."""
    original = module.HttpProtocol.__init__

    def __init__(self: Any, *arguments: Any, **named: Any) -> None:  # noqa: N807
        original(self, *arguments, **named)
        attempt("sanic", _watch, self)

    module.HttpProtocol.__init__ = copied(__init__, original)


def _watch(protocol: Any) -> None:
    handler = protocol.request_handler

    async def handle(request: Any, *arguments: Any, **named: Any) -> Any:
        exchange = attempt("sanic", _begin, request)
        if exchange is None:
            return await handler(request, *arguments, **named)
        entered = enter(exchange)
        try:
            return await handler(request, *arguments, **named)
        except BaseException as error:
            attempt("sanic", _escaped, exchange, error)
            raise
        finally:
            attempt("sanic", _end, exchange, request)
            leave(entered)

    protocol.request_handler = handle


def _begin(request: Any) -> Any:
    raw = getattr(request, "raw_url", b"/")
    connection = getattr(request, "conn_info", None)
    exchange = recorder().begin(
        request.method,
        raw.decode("latin-1"),
        [(str(k), str(v)) for k, v in request.headers.items()],
        peer=getattr(connection, "client_ip", None),
        port=getattr(connection, "server_port", None),
        version=str(getattr(request, "version", "")),
        server_answers=True,
        find_route=lambda: _route(request),
    )
    if exchange is not None:
        exchange.task, exchange.loop = task_now(), asyncio.get_running_loop()
    return exchange


def _route(request: Any) -> str | None:
    path = getattr(getattr(request, "route", None), "path", None)
    return None if path is None else "/" + str(path).lstrip("/")


def _escaped(exchange: Exchange, error: BaseException) -> None:
    if isinstance(error, (asyncio.CancelledError, ConnectionError)):
        exchange.client_left()
    elif isinstance(error, Exception):
        exchange.failed(error)


def _end(exchange: Exchange, request: Any) -> None:
    if request.body:
        exchange.request.add(request.body)
    transport = getattr(request, "transport", None)
    if transport is not None and transport.is_closing() and exchange.escaped is None:
        exchange.client_left()
    recorder().end(exchange)


def response_types(module: Any) -> None:
    """sanic.response.types: what the service sends."""
    original = module.BaseHTTPResponse.send

    async def send(self: Any, data: Any = None, end_stream: Any = None) -> Any:
        exchange = current.get()
        if exchange is not None and not exchange.finished:
            attempt("sanic", _sending, exchange, self, data)
        result = await original(self, data, end_stream)
        if exchange is not None and (end_stream or (data is None and end_stream is None)):
            exchange.done()
        return result

    module.BaseHTTPResponse.send = copied(send, original)


def _sending(exchange: Exchange, response: Any, data: Any) -> None:
    first = exchange.status is None
    if first:
        exchange.answered(int(response.status), [(str(k), str(v)) for k, v in response.headers.items()])
    piece = data or (getattr(response, "body", None) if first else None)
    if piece:
        exchange.sent(piece.encode() if isinstance(piece, str) else piece)


HOOKS = [
    ("sanic.server.protocols.http_protocol", http_protocol),
    ("sanic.response.types", response_types),
]
