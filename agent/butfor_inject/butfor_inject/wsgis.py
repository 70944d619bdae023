"""WSGI applications: the outermost wrapper around them. The answer's pieces pass one by one, as they are made."""

from __future__ import annotations

import sys
import time
from typing import Any, Callable, Iterator
from urllib.parse import quote

from butfor_inject import inputs
from butfor_inject.boundaries import attempt
from butfor_inject.contexts import enter, leave
from butfor_inject.exchanges import Exchange
from butfor_inject.recorders import recorder

SOCKET_KEY = "butfor.socket"
"""Where a server's hook leaves the client's socket for us; taken out of the environment at once."""
LOOK_AFTER_S = 0.05
"""An answer that took this long is worth a look whether the client is still there."""


class WsgiApplication:
    """A WSGI application under watch."""

    def __init__(self, application: Any) -> None:
        self._application = application

    def __getattr__(self, name: str) -> Any:
        return getattr(self._application, name)

    def __call__(self, environ: Any, start_response: Any) -> Any:
        """Serve; the span ends when the server closes the answer."""
        exchange = attempt("wsgi", _begin, environ)
        if exchange is None:
            return self._application(environ, start_response)
        token = enter(exchange)
        if environ.get("wsgi.input") is not None:
            environ["wsgi.input"] = inputs.watched(environ["wsgi.input"], exchange)
        try:
            result = self._application(environ, _starting(exchange, start_response))
        except BaseException as error:
            attempt("wsgi", _escaped, exchange, error)
            _finish(exchange, token)
            raise
        return _watched_result(exchange, token, environ, result)


def wrapped(application: Any) -> Any:
    """`application` under watch, once."""
    return application if isinstance(application, WsgiApplication) else WsgiApplication(application)


def _begin(environ: Any) -> Any:
    port = str(environ.get("SERVER_PORT", ""))
    exchange = recorder().begin(
        environ.get("REQUEST_METHOD", "GET"),
        _target(environ),
        _headers(environ),
        peer=environ.get("REMOTE_ADDR"),
        port=int(port) if port.isdigit() else None,
        scheme=environ.get("wsgi.url_scheme"),
        version=str(environ.get("SERVER_PROTOCOL", "")).rpartition("/")[2],
        server_answers=True,
    )
    if exchange is not None:
        exchange.connection = _connection(environ)
    return exchange


def _target(environ: Any) -> str:
    raw = environ.get("RAW_URI") or environ.get("REQUEST_URI")
    if raw:
        return str(raw)
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    target = quote(path.encode("latin-1", "replace"), safe="/~!$&'()*+,;=:@") or "/"
    query = environ.get("QUERY_STRING", "")
    return f"{target}?{query}" if query else target


def _headers(environ: Any) -> list[tuple[str, str]]:
    found = []
    for key, value in environ.items():
        if key.startswith("HTTP_"):
            found.append((key[5:].replace("_", "-").title(), str(value)))
        elif key in ("CONTENT_TYPE", "CONTENT_LENGTH") and value:
            found.append((key.replace("_", "-").title(), str(value)))
    return found


def _connection(environ: Any) -> Any:
    """The client's socket; None where the server hides it."""
    names = ("gunicorn.socket", "werkzeug.socket", SOCKET_KEY)
    found = next((environ[name] for name in names if name in environ), None)
    environ.pop(SOCKET_KEY, None)
    return found


def _starting(exchange: Exchange, start_response: Any) -> Callable[..., Any]:
    def watched(status: str, headers: Any, *rest: Any) -> Any:
        attempt("start_response", _started, exchange, status, headers, *rest)
        write = start_response(status, headers, *rest)

        def writing(data: Any) -> Any:
            result = write(data)
            attempt("write", exchange.sent, data)
            return result

        return writing

    return watched


def _started(exchange: Exchange, status: str, headers: Any, information: Any = None) -> None:
    exchange.answered(int(status.split(maxsplit=1)[0]), [(str(k), str(v)) for k, v in headers])
    if information and information[1] is not None:
        exchange.remember(information[1], "raised")


def _watched_result(exchange: Exchange, token: Any, environ: Any, result: Any) -> Any:
    wrapper = environ.get("wsgi.file_wrapper")
    if isinstance(wrapper, type) and isinstance(result, wrapper):
        return _watched_file(exchange, token, result)
    kind = _SizedResult if hasattr(result, "__len__") else _Result
    return kind(exchange, token, result)


def _watched_file(exchange: Exchange, token: Any, result: Any) -> Any:
    """A file that the server sends by itself must stay what it is; its end is its close."""
    file = next((f for f in (getattr(result, n, None) for n in ("filelike", "file")) if f is not None), None)
    close = getattr(result, "close", None)
    promised = {k.lower(): v for k, v in exchange.answer_headers}.get("content-length", "")

    def closing() -> None:
        try:
            if file is not None and not file.closed:
                attempt("file", _add_file, exchange, file, place, promised)
            if close is not None:
                close()
        finally:
            _conclude(exchange, exhausted=True)
            _finish(exchange, token)

    place = attempt("file", _tell, file)
    try:
        result.close = closing
    except AttributeError:
        exchange.done()
        _finish(exchange, token)
    return result


def _tell(file: Any) -> int:
    return int(file.tell())


def _add_file(exchange: Exchange, file: Any, place: int, promised: str) -> None:
    if exchange.method != "HEAD":
        exchange.answer.add_file(file, place, int(promised) if promised.isdigit() else None)


class _Result:
    """The answer's iterable: same pieces at the same moments, then the end of the span."""

    def __init__(self, exchange: Exchange, token: Any, result: Any) -> None:
        self._exchange, self._token = exchange, token
        self._result = result
        self._pieces: Iterator[Any] | None = None
        self._exhausted = False

    def __iter__(self) -> _Result:
        return self

    def __next__(self) -> Any:
        try:
            if self._pieces is None:
                self._pieces = iter(self._result)
                piece = next(self._pieces)
                if _peer_gone(self._exchange):
                    self._exchange.client_left()
            else:
                piece = next(self._pieces)
        except StopIteration:
            self._exhausted = True
            raise
        except BaseException as error:
            attempt("wsgi", _escaped, self._exchange, error)
            raise
        attempt("wsgi", self._exchange.sent, piece)
        return piece

    def close(self) -> None:
        """The server has sent everything, or gives up."""
        error = sys.exc_info()[1]
        close = getattr(self._result, "close", None)
        try:
            if close is not None:
                close()
        except BaseException as problem:
            attempt("wsgi", _escaped, self._exchange, problem)
            raise
        finally:
            attempt("wsgi", _conclude, self._exchange, error, self._exhausted)
            _finish(self._exchange, self._token)


class _SizedResult(_Result):
    """An answer whose number of pieces is known: servers make a Content-Length of it."""

    def __len__(self) -> int:
        return len(self._result)


def _conclude(exchange: Exchange, error: BaseException | None = None, exhausted: bool = False) -> None:
    left = isinstance(error, OSError) and exchange.escaped is None
    if left:
        exchange.client_left()
    elif exchange.escaped is None and exchange.status is not None:
        complete = exhausted or error is None
        if complete:
            exchange.done()


def _peer_gone(exchange: Exchange) -> bool:
    """Whether the client closed its side while a slow answer was made."""
    connection = exchange.connection
    if connection is None or time.monotonic() - exchange.started < LOOK_AFTER_S:
        return False
    socket = sys.modules["socket"]
    try:
        return bool(connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"")
    except ConnectionError as error:
        return not isinstance(error, BlockingIOError)
    except (BlockingIOError, ValueError, AttributeError):
        return False


def _escaped(exchange: Exchange, error: BaseException) -> None:
    if isinstance(error, (SystemExit, GeneratorExit, KeyboardInterrupt)):
        return
    if exchange.answer.size == 0:
        exchange.status = None  # nothing was sent yet: the server answers in the application's place
    exchange.failed(error)


def _finish(exchange: Exchange, token: Any) -> None:
    recorder().end(exchange)
    attempt("wsgi", leave, token)
