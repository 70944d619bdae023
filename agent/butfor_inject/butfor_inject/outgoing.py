"""http.client, and with it urllib, urllib3 and requests: calls as they leave, answers as they are read."""

from __future__ import annotations

from typing import Any

from butfor_inject import publishing, tracers
from butfor_inject.boundaries import attempt
from butfor_inject.calls import Call, unchunked
from butfor_inject.contexts import copied


def http_client(module: Any) -> None:
    """http.client."""
    connection, response = module.HTTPConnection, module.HTTPResponse
    _around(connection, "putrequest", _begin, _nothing)
    _around(connection, "endheaders", _headers, _headers_sent)
    _around(connection, "send", _sending, _nothing)
    _around(connection, "getresponse", _waiting, _answered)
    for name in ("read", "read1", "readline", "readinto", "peek"):
        _reading(response, name)
    _ending(response, "_close_conn")
    _ending(response, "close")


def _around(owner: Any, name: str, before: Any, then: Any) -> None:
    original = getattr(owner, name)

    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        attempt(name, before, self, *arguments)
        call = _call(self)
        shown = publishing.show(call.ids) if call is not None else None
        try:
            result = original(self, *arguments, **named)
        except BaseException as error:
            attempt(name, _failed, self, error)
            raise
        finally:
            if call is not None:
                publishing.restore(shown)
        attempt(name, then, self, result)
        return result

    setattr(owner, name, copied(method, original))


def _nothing(_connection: Any, _result: Any) -> None:
    """Some calls are only watched on the way in."""


def _call(connection: Any) -> Call | None:
    call = connection.__dict__.get("_butfor_call")
    return call if isinstance(call, Call) and not call.finished else None


def _failed(connection: Any, error: BaseException) -> None:
    call = _call(connection)
    if call is not None:
        call.failed(error)


def _begin(connection: Any, method: str, url: str, *_rest: Any) -> None:
    left = _call(connection)
    if left is not None:
        left.end()
    if tracers.suppressed():
        connection._butfor_call = None  # noqa: SLF001 - ours
        return
    secure = getattr(connection, "default_port", 80) == 443
    full = url if "://" in url else f"{'https' if secure else 'http'}://{connection.host}:{connection.port}{url}"
    connection._butfor_call = Call(method, full)  # noqa: SLF001 - ours
    connection._butfor_stage = "headers"  # noqa: SLF001


def _headers(connection: Any, *_rest: Any) -> None:
    call = _call(connection)
    if call is None:
        return
    lines = [line.decode("latin-1") for line in connection._buffer[1:]]  # noqa: SLF001 - there is no public door
    pairs = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    carried = next((value for name, value in pairs if name.lower() == "traceparent"), None)
    if not call.carries(carried):
        connection.putheader("traceparent", call.traceparent)
    call.headers = pairs
    connection._butfor_stage = "first"  # noqa: SLF001


def _headers_sent(connection: Any, _result: Any) -> None:
    connection._butfor_stage = "body"  # noqa: SLF001


def _sending(connection: Any, data: Any) -> None:
    """The first piece that is sent is the header block itself."""
    stage = connection.__dict__.get("_butfor_stage")
    call = _call(connection)
    if call is None or stage == "headers":
        return
    if stage == "first":
        connection._butfor_stage = "body"  # noqa: SLF001
    elif isinstance(data, (bytes, bytearray, memoryview)):
        call.request.add(unchunked(bytes(data)) if _is_chunked(call) else data)
    else:
        call.request.truncated = True  # a file or an iterator: only the socket sees its bytes


def _is_chunked(call: Call) -> bool:
    return any(name.lower() == "transfer-encoding" and "chunked" in value.lower() for name, value in call.headers)


def _waiting(_connection: Any) -> None:
    """The answer's failures are what is watched here."""


def _answered(connection: Any, response: Any) -> None:
    call = _call(connection)
    if call is None:
        return
    call.status = int(response.status)
    call.answer_headers = [(str(k), str(v)) for k, v in response.getheaders()]
    connection._butfor_call = None  # noqa: SLF001
    if response.isclosed():
        call.end()
    else:
        response._butfor_call = call  # noqa: SLF001


def _reading(owner: Any, name: str) -> None:
    original = owner.__dict__.get(name)
    if original is None:
        return

    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        call = self.__dict__.get("_butfor_call")
        if call is None or self.__dict__.get("_butfor_busy"):
            return original(self, *arguments, **named)
        self._butfor_busy = True
        try:
            with call.reading():
                result = original(self, *arguments, **named)
        except BaseException as error:
            attempt(name, call.failed, error)
            raise
        finally:
            self._butfor_busy = False
        if name != "peek":
            attempt(name, _took, call, result, arguments)
        if self.isclosed():
            call.end()
        return result

    setattr(owner, name, copied(method, original))


def _took(call: Call, result: Any, arguments: Any) -> None:
    if isinstance(result, int):
        result = bytes(memoryview(arguments[0])[:result])
    if result:
        call.answer.add(result)


def _ending(owner: Any, name: str) -> None:
    original = getattr(owner, name)

    def method(self: Any) -> Any:
        result = original(self)
        call = self.__dict__.get("_butfor_call")
        if call is not None and not self.__dict__.get("_butfor_busy"):
            call.end()
        return result

    setattr(owner, name, copied(method, original))


HOOKS = [("http.client", http_client)]
