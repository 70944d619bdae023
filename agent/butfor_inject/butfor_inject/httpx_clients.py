"""httpx at its network transports: in-process transports (ASGI, WSGI, mocks) are no calls to anyone."""

from __future__ import annotations

from typing import Any

from butfor_inject import publishing
from butfor_inject.boundaries import attempt
from butfor_inject.calls import Call
from butfor_inject.contexts import copied


def transports(module: Any) -> None:
    """httpx._transports.default."""
    sync, asynchronous = module.HTTPTransport, module.AsyncHTTPTransport
    sync.handle_request = _sync(sync.handle_request, _stream_class(getattr(module, "SyncByteStream", object)))
    asynchronous.handle_async_request = _async(
        asynchronous.handle_async_request, _async_stream_class(getattr(module, "AsyncByteStream", object))
    )


def _begin(request: Any) -> Call:
    call = Call(str(request.method), str(request.url))
    if not call.carries(request.headers.get("traceparent")):
        request.headers["traceparent"] = call.traceparent
    call.headers = [(str(k), str(v)) for k, v in request.headers.multi_items()]
    content = getattr(request, "_content", None)
    if isinstance(content, bytes):
        call.request.add(content)
    else:
        call.request.truncated = True  # a stream: only the socket sees its bytes
    return call


def _answered(call: Call, response: Any) -> None:
    call.status = int(response.status_code)
    call.answer_headers = [(str(k), str(v)) for k, v in response.headers.multi_items()]


def _sync(original: Any, stream: Any) -> Any:
    def handle_request(self: Any, request: Any) -> Any:
        call = attempt("httpx", _begin, request)
        if call is None:
            return original(self, request)
        shown = publishing.show(call.ids)
        try:
            response = original(self, request)
        except BaseException as error:
            call.failed(error)
            raise
        finally:
            publishing.restore(shown)
        attempt("httpx", _answered, call, response)
        response.stream = stream(response.stream, call)
        return response

    return copied(handle_request, original)


def _async(original: Any, stream: Any) -> Any:
    async def handle_async_request(self: Any, request: Any) -> Any:
        call = attempt("httpx", _begin, request)
        if call is None:
            return await original(self, request)
        shown = publishing.show(call.ids)
        try:
            response = await original(self, request)
        except BaseException as error:
            call.failed(error)
            raise
        finally:
            publishing.restore(shown)
        attempt("httpx", _answered, call, response)
        response.stream = stream(response.stream, call)
        return response

    return copied(handle_async_request, original)


def _stream_class(base: Any) -> Any:
    class Stream(base):  # type: ignore[misc] # the base is httpx's, known only once it is loaded
        """The answer's bytes as they come from the network."""

        def __init__(self, stream: Any, call: Call) -> None:
            self._stream, self._call = stream, call

        def __iter__(self) -> Any:
            pieces = iter(self._stream)
            while True:
                try:
                    with self._call.reading():
                        piece = next(pieces)
                except StopIteration:
                    return
                except Exception as error:
                    self._call.failed(error)
                    raise
                attempt("httpx", self._call.answer.add, piece)
                yield piece

        def close(self) -> None:
            self._stream.close()
            self._call.end()

    return Stream


def _async_stream_class(base: Any) -> Any:
    class Stream(base):  # type: ignore[misc] # the base is httpx's, known only once it is loaded
        """The answer's bytes as they come from the network."""

        def __init__(self, stream: Any, call: Call) -> None:
            self._stream, self._call = stream, call

        async def __aiter__(self) -> Any:
            pieces = self._stream.__aiter__()
            while True:
                try:
                    with self._call.reading():
                        piece = await pieces.__anext__()
                except StopAsyncIteration:
                    return
                except Exception as error:
                    self._call.failed(error)
                    raise
                attempt("httpx", self._call.answer.add, piece)
                yield piece

        async def aclose(self) -> None:
            await self._stream.aclose()
            self._call.end()

    return Stream


HOOKS = [("httpx._transports.default", transports)]
