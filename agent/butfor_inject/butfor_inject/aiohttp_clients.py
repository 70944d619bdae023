"""aiohttp's client."""

from __future__ import annotations

from typing import Any

from butfor_inject import publishing, tracers
from butfor_inject.aiohttp_servers import take
from butfor_inject.boundaries import attempt
from butfor_inject.calls import Call
from butfor_inject.contexts import copied


def client(module: Any) -> None:
    """aiohttp.client."""
    original = module.ClientSession._request  # noqa: SLF001 - every method of the session ends here

    async def _request(self: Any, method: str, str_or_url: Any, **named: Any) -> Any:
        call = attempt("aiohttp client", _begin, self, method, str_or_url, named)
        if call is None:
            return await original(self, method, str_or_url, **named)
        shown = publishing.show(call.ids)
        try:
            response = await original(self, method, str_or_url, **named)
        except BaseException as error:
            call.failed(error)
            raise
        finally:
            publishing.restore(shown)
        attempt("aiohttp client", _answered, call, response)
        return response

    module.ClientSession._request = copied(_request, original)  # noqa: SLF001


def _begin(session: Any, method: str, url: Any, named: dict[str, Any]) -> Call:
    from multidict import CIMultiDict  # aiohttp's own, so it is loaded

    build = getattr(session, "_build_url", str)
    call = Call(method.upper(), str(build(url)))
    headers = CIMultiDict(named.get("headers") or ())
    if not call.carries(headers.get("traceparent")) and not tracers.active():
        headers["traceparent"] = call.traceparent
        named["headers"] = headers
    _body(call, session, named)
    return call


def _body(call: Call, session: Any, named: dict[str, Any]) -> None:
    data = named.get("data")
    if named.get("json") is not None:
        data = session._json_serialize(named["json"])  # noqa: SLF001 - what the session itself will call
    if isinstance(data, str):
        data = data.encode()
    if isinstance(data, (bytes, bytearray)):
        call.request.add(data)
    elif data is not None:
        call.request.truncated = True  # a form or a stream: only the socket sees its bytes


class _Taker:
    """Takes the answer's body as the parser feeds it, and its end."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.add = call.answer.add

    def eof(self) -> None:
        self._call.end()


def _answered(call: Call, response: Any) -> None:
    call.status = int(response.status)
    call.url = str(response.url)
    call.answer_headers = [(str(k), str(v)) for k, v in response.headers.items()]
    sent = response.request_info.headers
    call.carries(sent.get("traceparent"))
    call.headers = [(str(k), str(v)) for k, v in sent.items()]
    content = response.content
    ended = content.is_eof()
    take(content, _Taker(call))
    if ended or not hasattr(content, "_buffer"):
        call.end()


HOOKS = [("aiohttp.client", client)]
