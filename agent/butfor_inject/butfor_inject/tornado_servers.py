"""tornado's own HTTP server: the delegate that it makes for each request, and the connection it answers on."""

from __future__ import annotations

from typing import Any

from butfor_inject.boundaries import attempt
from butfor_inject.contexts import copied, current, enter, leave, task_now
from butfor_inject.exchanges import Exchange
from butfor_inject.recorders import recorder


def httpserver(module: Any) -> None:
    """tornado.httpserver."""
    original = module.HTTPServer.start_request

    def start_request(self: Any, server_conn: Any, request_conn: Any) -> Any:
        delegate = original(self, server_conn, request_conn)
        return _Delegate(delegate, request_conn)

    module.HTTPServer.start_request = copied(start_request, original)


class _Delegate:
    """An HTTPMessageDelegate (duck-typed) that runs the real one in the request's context."""

    def __init__(self, delegate: Any, connection: Any) -> None:
        self._delegate, self._connection = delegate, connection
        self._exchange: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._delegate, name)

    def _run(self, name: str, *arguments: Any) -> Any:
        entered = enter(self._exchange) if self._exchange is not None else None
        try:
            return getattr(self._delegate, name)(*arguments)
        except Exception as error:
            if self._exchange is not None:
                attempt("tornado", self._exchange.failed, error)
                recorder().end(self._exchange)
            raise
        finally:
            if entered is not None:
                leave(entered)

    def headers_received(self, start_line: Any, headers: Any) -> Any:
        """The request begins."""
        self._exchange = attempt("tornado", _begin, self._connection, start_line, headers)
        return self._run("headers_received", start_line, headers)

    def data_received(self, chunk: Any) -> Any:
        """A piece of the request's body."""
        if self._exchange is not None:
            attempt("tornado", self._exchange.request.add, chunk)
        return self._run("data_received", chunk)

    def finish(self) -> Any:
        """The request is whole: tornado starts the handler's task here."""
        return self._run("finish")

    def on_connection_close(self) -> Any:
        """The client left, or the connection was closed on it."""
        if self._exchange is not None:
            self._exchange.client_left()
        try:
            return self._run("on_connection_close")
        finally:
            recorder().end(self._exchange)


def _begin(connection: Any, start_line: Any, headers: Any) -> Any:
    stream = getattr(connection, "stream", None)
    socket = getattr(stream, "socket", None)
    context = getattr(connection, "context", None)
    exchange = recorder().begin(
        start_line.method,
        start_line.path,
        list(headers.get_all()),
        peer=getattr(context, "remote_ip", None),
        port=_port(socket),
        scheme=getattr(context, "protocol", None),
        version=start_line.version.rpartition("/")[2],
    )
    if exchange is not None:
        exchange.task = task_now()
        exchange.loop = exchange.task.get_loop() if exchange.task is not None else None
        _watch(connection, exchange)
    return exchange


def _port(socket: Any) -> Any:
    name = socket.getsockname() if socket is not None else None
    return name[1] if isinstance(name, tuple) else None


def _watch(connection: Any, exchange: Exchange) -> None:
    """The connection object is made anew for each request: its methods are watched on the object itself."""
    write_headers, write, finish = connection.write_headers, connection.write, connection.finish

    def headers_written(start_line: Any, headers: Any, chunk: Any = None) -> Any:
        attempt("tornado", exchange.answered, start_line.code, list(headers.get_all()))
        if chunk:
            attempt("tornado", exchange.sent, chunk)
        return write_headers(start_line, headers, chunk)

    def written(chunk: Any) -> Any:
        attempt("tornado", exchange.sent, chunk)
        return write(chunk)

    def finished() -> Any:
        try:
            result = finish()
        except Exception as error:
            attempt("tornado", exchange.failed, error)
            recorder().end(exchange)
            raise
        exchange.done()
        _end_soon(exchange)
        return result

    connection.write_headers, connection.write, connection.finish = headers_written, written, finished
    _watch_ending(connection, exchange)


def _watch_ending(connection: Any, exchange: Exchange) -> None:
    """The client leaves while the handler works, or the handler takes the connection over (websockets)."""
    lost: Any = getattr(connection, "_on_connection_close", None)
    detach: Any = getattr(connection, "detach", None)

    def losing() -> Any:
        exchange.client_left()
        _end_soon(exchange)
        return lost()

    def detached() -> Any:
        exchange.done()
        recorder().end(exchange)
        return detach()

    if lost is not None:
        connection._on_connection_close = losing  # noqa: SLF001 - there is no public door
    if detach is not None:
        connection.detach = detached


def _end_soon(exchange: Exchange) -> None:
    """End after the handler's own callbacks (logs of `on_finish` still belong to the request)."""
    loop = exchange.loop
    if loop is not None and loop.is_running():
        loop.call_soon(recorder().end, exchange)
    else:
        recorder().end(exchange)


def web(module: Any) -> None:
    """tornado.web: the handler runs in a task of its own; that is the one to look at when it is slow."""
    original = module.RequestHandler._execute  # noqa: SLF001 - there is no public door

    async def _execute(self: Any, *arguments: Any, **named: Any) -> Any:
        exchange = current.get()
        if exchange is not None and not exchange.finished:
            exchange.task = task_now()
        return await original(self, *arguments, **named)

    module.RequestHandler._execute = copied(_execute, original)  # noqa: SLF001


HOOKS = [("tornado.web", web), ("tornado.httpserver", httpserver)]
