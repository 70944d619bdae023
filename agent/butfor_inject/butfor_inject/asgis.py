"""ASGI applications: the outermost wrapper around them. Messages pass untouched and are never held back."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import quote

from butfor_inject.boundaries import attempt
from butfor_inject.contexts import enter, leave, task_now
from butfor_inject.exchanges import Exchange
from butfor_inject.recorders import recorder


class AsgiApplication:
    """An ASGI 3 application under watch."""

    def __init__(self, application: Any) -> None:
        self._application = application

    def __getattr__(self, name: str) -> Any:
        return getattr(self._application, name)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        """Serve; anything but an HTTP request goes straight through."""
        exchange = attempt("asgi", _begin, scope) if scope.get("type") == "http" else None
        if exchange is None:
            return await self._application(scope, receive, send)
        entered = enter(exchange)
        try:
            return await self._application(scope, _receiving(exchange, receive), _sending(exchange, receive, send))
        except BaseException as error:
            attempt("asgi", _escaped, exchange, error, receive, send)
            raise
        finally:
            recorder().end(exchange)
            attempt("asgi", leave, entered)


def wrapped(application: Any) -> Any:
    """`application` under watch, once."""
    return application if isinstance(application, AsgiApplication) else AsgiApplication(application)


def _begin(scope: Any) -> Any:
    server, client = scope.get("server"), scope.get("client")
    exchange = recorder().begin(
        scope["method"],
        _target(scope),
        [(k.decode("latin-1"), v.decode("latin-1")) for k, v in scope["headers"]],
        peer=client[0] if client else None,
        port=server[1] if server else None,
        scheme=scope.get("scheme"),
        version=scope.get("http_version"),
        server_answers=True,
        find_route=lambda: _route(scope),
    )
    if exchange is not None:
        exchange.task = task_now()
        exchange.loop = exchange.task.get_loop() if exchange.task is not None else None
    return exchange


def _target(scope: Any) -> str:
    raw = scope.get("raw_path")
    path = raw.decode("latin-1") if raw else quote(scope.get("path", "/"))
    query = scope.get("query_string") or b""
    return f"{path}?{query.decode('latin-1')}" if query and "?" not in path else path


def _route(scope: Any) -> Any:
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else None


def _receiving(exchange: Exchange, receive: Any) -> Any:
    async def watched() -> Any:
        message = await receive()
        attempt("receive", _received, exchange, message)
        return message

    return watched


def _received(exchange: Exchange, message: Any) -> None:
    if message["type"] == "http.request":
        body = message.get("body")
        if body:
            exchange.request.add(body)
    elif message["type"] == "http.disconnect":
        exchange.client_left()


def _sending(exchange: Exchange, receive: Any, send: Any) -> Any:
    async def watched(message: Any) -> None:
        attempt("send", _before, exchange, message, receive, send)
        try:
            await send(message)
        except OSError:
            exchange.client_left()
            raise
        attempt("send", _after, exchange, message)

    return watched


def _before(exchange: Exchange, message: Any, receive: Any, send: Any) -> None:
    if message["type"] == "http.response.start":
        headers = [(_text(k), _text(v)) for k, v in message.get("headers", ())]
        exchange.answered(int(message["status"]), headers)
    if _peer_gone(receive, send):
        exchange.client_left()


def _after(exchange: Exchange, message: Any) -> None:
    if exchange.gone:
        return
    if message["type"] == "http.response.body":
        if message.get("body"):
            exchange.sent(message["body"])
        if not message.get("more_body", False):
            exchange.done()
    elif message["type"] == "http.response.pathsend":
        with open(message["path"], "rb") as file:
            exchange.answer.add_file(file, 0, None)
        exchange.done()


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _peer_gone(receive: Any, send: Any) -> bool:
    """Servers swallow what is sent to a client that left; the object behind their callables knows (if any)."""
    cycle, stream = getattr(receive, "__self__", None), getattr(send, "__self__", None)
    return bool(getattr(cycle, "disconnected", False) is True or getattr(stream, "closed", False) is True)


def _escaped(exchange: Exchange, error: BaseException, receive: Any, send: Any) -> None:
    asyncio = sys.modules.get("asyncio")
    if asyncio is not None and isinstance(error, asyncio.CancelledError):
        exchange.client_left()
        return
    if _peer_gone(receive, send):
        exchange.client_left()
    if isinstance(error, (SystemExit, GeneratorExit, KeyboardInterrupt)):
        return
    exchange.failed(error)
