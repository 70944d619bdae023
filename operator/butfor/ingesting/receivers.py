"""OTLP over gRPC and HTTP on loopback: what arrives is appended to the spool as OTLP/JSON lines."""

from __future__ import annotations

import json
import os
import secrets
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc

from butfor.errors import UserError
from butfor.ingesting.encodings import SIGNALS, Kind, Signal, document, rejections
from butfor.ingesting.webs import Web

MAX_BODY_BYTES = 64 * 2**20
"""Of one export request, unpacked."""


class Spool:
    """Appends documents to `<kind>-<pid>-<random>.jsonl` in the spool, one flushed line each."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._name = f"{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        self._folder = folder
        self._files: dict[Kind, Any] = {}
        self._lock = threading.Lock()

    def append(self, kind: Kind, found: dict[str, Any]) -> None:
        """Write one line; raises OSError where the disk does not take it."""
        line = json.dumps(found, separators=(",", ":")).encode() + b"\n"
        with self._lock:
            file = self._files.get(kind)
            if file is None:
                path = self._folder / f"{kind}-{self._name}"
                file = self._files[kind] = path.open("ab", buffering=0)
            file.write(line)

    def take(self, signal: Signal, found: dict[str, Any], rejected: int = 0) -> Any:
        """Append what can be used; returns the response message, with a partial success where some cannot."""
        rejected += rejections(signal, found)
        if found:
            self.append(signal.kind, found)
        response = signal.response()
        if rejected:
            setattr(response.partial_success, signal.rejected, rejected)
            response.partial_success.error_message = "records without a valid trace or span id were not taken"
        return response

    def close(self) -> None:
        """Close the files; later appends open new ones."""
        with self._lock:
            for file in self._files.values():
                file.close()
            self._files = {}


class _Service:
    """The `Export` method of one of OTLP's three gRPC services."""

    def __init__(self, signal: Signal, spool: Spool) -> None:
        self._signal, self._spool = signal, spool

    def Export(self, request: Any, context: Any) -> Any:  # noqa: N802  (the name in the protocol)
        """Append the request; UNAVAILABLE asks the client to try again later."""
        try:
            return self._spool.take(self._signal, document(request))
        except OSError as error:
            context.abort(grpc.StatusCode.UNAVAILABLE, f"the spool cannot be written: {error.strerror}")


class Receiver:
    """Running receivers; `grpc_port` and `http_port` are the real ports."""

    def __init__(self, spool: Spool, server: grpc.Server, grpc_port: int, web: Web) -> None:
        self._spool, self._server, self._web = spool, server, web
        self.grpc_port = grpc_port
        self.http_port = web.port

    def stop(self) -> None:
        """Finish what has begun (at most 2 s), then close ports and files."""
        self._server.stop(grace=2).wait(timeout=5)
        self._web.stop()
        self._spool.close()


def start(spool: Path, grpc_port: int, http_port: int, host: str = "127.0.0.1") -> Receiver:
    """Listen for OTLP; port 0 takes a free one. Raises UserError where a port is taken."""
    sink = Spool(spool)
    server, real_port = _grpc_server(sink, f"{host}:{grpc_port}")
    try:
        web = Web(sink, host, http_port, MAX_BODY_BYTES)
    except OSError as error:
        server.stop(grace=None)
        raise UserError(f"cannot listen for OTLP/HTTP on {host}:{http_port}: {error.strerror}") from error
    return Receiver(sink, server, real_port, web)


def _grpc_server(sink: Spool, address: str) -> tuple[grpc.Server, int]:
    options = [("grpc.max_receive_message_length", MAX_BODY_BYTES), ("grpc.so_reuseport", 0)]
    server = grpc.server(ThreadPoolExecutor(4, "otlp-grpc"), options=options)
    doors: list[tuple[Kind, Any]] = [
        ("spans", trace_service_pb2_grpc.add_TraceServiceServicer_to_server),
        ("logs", logs_service_pb2_grpc.add_LogsServiceServicer_to_server),
        ("metrics", metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server),
    ]
    for kind, add in doors:
        add(_Service(SIGNALS[kind], sink), server)
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise UserError(f"cannot listen for OTLP/gRPC on {address}; choose another port") from error
    server.start()
    return server, port
