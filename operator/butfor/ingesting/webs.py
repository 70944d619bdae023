"""OTLP/HTTP: protobuf and JSON bodies, gzip, and the answers that the OTLP specification asks for."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import uvicorn
from google.protobuf import json_format
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from butfor.ingesting.encodings import (
    SIGNALS,
    DecodingError,
    Signal,
    TooLargeError,
    from_json,
    from_protobuf,
    gunzip,
)

PROTOBUF, JSON = "application/x-protobuf", "application/json"
_PATHS = {"/v1/traces": SIGNALS["spans"], "/v1/logs": SIGNALS["logs"], "/v1/metrics": SIGNALS["metrics"]}


class Sink(Protocol):
    """Where decoded documents go."""

    def take(self, signal: Signal, found: dict[str, Any], rejected: int = 0) -> Any:
        """Append the document; returns the response message; raises OSError."""


class RefusedError(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Web:
    """The HTTP server in a thread of its own; `port` is the real one. Raises OSError where it is taken."""

    def __init__(self, sink: Sink, host: str, port: int, limit: int) -> None:
        self._socket = socket.create_server((host, port), backlog=128)
        self.port: int = self._socket.getsockname()[1]
        routes = [Route(path, _endpoint(sink, signal, limit), methods=["POST"]) for path, signal in _PATHS.items()]
        config = uvicorn.Config(
            Starlette(routes=routes), log_level="critical", access_log=False, lifespan="off", ws="none",
            timeout_keep_alive=30, timeout_graceful_shutdown=2,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="otlp-http", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Finish what has begun, then close the port."""
        self._server.should_exit = True
        self._thread.join(timeout=10)
        self._socket.close()


def _endpoint(sink: Sink, signal: Signal, limit: int) -> Callable[[Request], Awaitable[Response]]:
    async def export(request: Request) -> Response:
        encoding = _content_type(request)
        try:
            _check(encoding)
            body = await _body(request, limit)
            message = await run_in_threadpool(_take, sink, signal, encoding, body)
        except RefusedError as error:
            return _refusal(encoding, error)
        return Response(_encoded(message, encoding), media_type=encoding)

    return export


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").split(";")[0].strip().lower()


def _check(encoding: str) -> None:
    if encoding not in (PROTOBUF, JSON):
        raise RefusedError(415, f"the content type is neither {PROTOBUF} nor {JSON}")


async def _body(request: Request, limit: int) -> bytes:
    """The unpacked body; refuses with 413 before more than `limit` bytes are held."""
    received = bytearray()
    try:
        async for chunk in request.stream():
            received += chunk
            if len(received) > limit:
                raise RefusedError(413, f"the body is larger than {limit} bytes")
    except ClientDisconnect:
        raise RefusedError(400, "the body was cut off") from None
    coding = request.headers.get("content-encoding", "identity").strip().lower()
    if coding == "identity":
        return bytes(received)
    if coding != "gzip":
        raise RefusedError(415, "the content encoding is neither gzip nor identity")
    return await run_in_threadpool(_unzipped, bytes(received), limit)


def _unzipped(body: bytes, limit: int) -> bytes:
    try:
        return gunzip(body, limit)
    except TooLargeError as error:
        raise RefusedError(413, str(error)) from None
    except DecodingError as error:
        raise RefusedError(400, str(error)) from None


def _take(sink: Sink, signal: Signal, encoding: str, body: bytes) -> Any:
    try:
        found, rejected = from_json(signal, body) if encoding == JSON else (from_protobuf(signal, body), 0)
        return sink.take(signal, found, rejected)
    except DecodingError as error:
        raise RefusedError(400, str(error)) from None
    except OSError as error:
        raise RefusedError(503, f"the spool cannot be written: {error.strerror}") from None


def _encoded(message: Any, encoding: str) -> bytes:
    if encoding == JSON:
        return json_format.MessageToJson(message, indent=None).encode()
    encoded: bytes = message.SerializeToString()
    return encoded


def _refusal(encoding: str, error: RefusedError) -> Response:
    """A google.rpc.Status in the request's encoding; its message is field 2."""
    text = str(error)[:1000]
    if encoding == PROTOBUF:
        raw = text.encode()
        body = b"\x12" + _varint(len(raw)) + raw
        return Response(body, error.status, media_type=PROTOBUF)
    body = json.dumps({"message": text}).encode()
    return Response(body, error.status, media_type=JSON)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])
