"""What the edge writes of its exchanges: spans, message pairs and bodies, on a thread of its own."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import secrets
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

from .bodies import Recording
from .exchanges import Exchange


class Spool:
    """Writes the records of this process on a thread of its own; one JSON object per line, flushed per line."""

    def __init__(self, folder: Path, service: str, port: int) -> None:
        self.folder, self.service, self.port = folder, service, port
        (folder / "bodies").mkdir(parents=True, exist_ok=True)
        tail = f"{os.getpid()}-{secrets.token_hex(4)}.jsonl"
        self._files: dict[str, TextIO] = {
            kind: (folder / f"{kind}-{tail}").open("a", buffering=1, encoding="utf-8")
            for kind in ("open", "spans", "payloads")
        }
        self._notes = folder / f"edge-{tail[:-1]}"
        self._queue: queue.SimpleQueue[tuple[str, Exchange] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def put(self, step: str, exchange: Exchange) -> None:
        """Queue `open`, `interim` or `end` of an exchange."""
        self._queue.put((step, exchange))

    def note(self, counts: dict[str, int]) -> None:
        """Replace the edge's own facts: what it passed on without reading it."""
        temporary = self._notes.with_suffix(".tmp")
        temporary.write_text(json.dumps({"service": self.service, "pid": os.getpid(), **counts}))
        temporary.replace(self._notes)

    def close(self) -> None:
        """Write what is queued."""
        self._queue.put(None)
        self._thread.join(10)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            try:
                self._write(*item)
            except OSError as error:  # a full disk must not stop the traffic
                say(f"edge: a record was lost: {error}", sys.stderr)

    def _write(self, step: str, exchange: Exchange) -> None:
        if step == "open":
            self._line("open", self._span(exchange))
            return
        self._line("payloads", self._payload(exchange, whole=step == "end"))
        if step == "end":
            self._line("spans", self._span(exchange))

    def _line(self, kind: str, value: dict[str, Any]) -> None:
        self._files[kind].write(json.dumps(value, separators=(",", ":")) + "\n")

    def _store(self, recording: Recording) -> str | None:
        parts = list(recording.parts)
        if not parts:
            return None
        digest = hashlib.sha256()
        for part in parts:
            digest.update(part)
        path = self.folder / "bodies" / digest.hexdigest()
        if not path.exists():
            temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
            with temporary.open("wb") as file:
                file.writelines(parts)
            _keep(temporary, path)
        return path.name

    def _payload(self, exchange: Exchange, *, whole: bool) -> dict[str, Any]:
        request, answer = exchange.request, exchange.answer
        return {
            "trace_id": exchange.trace_id,
            "span_id": exchange.span_id,
            "role": "edge",
            "service": self.service,
            "method": exchange.method,
            "target": exchange.target,
            "request_headers": exchange.headers,
            "request_body": self._store(request),
            "request_bytes": request.size,
            "request_truncated": request.size > request.kept or (whole and not exchange.request_whole),
            "status": exchange.status,
            "answer_headers": exchange.answer_headers,
            "answer_body": self._store(answer),
            "answer_bytes": answer.size,
            "answer_truncated": answer.size > answer.kept,
            "complete": whole and exchange.ended is None,
            "ended": exchange.ended if exchange.ended != "truncated" else None,
            "start_ns": exchange.start_ns,
            "end_ns": exchange.end_ns if whole else None,
            "peer": exchange.peer or None,
        }

    def _span(self, exchange: Exchange) -> dict[str, Any]:
        span: dict[str, Any] = {
            "traceId": exchange.trace_id,
            "spanId": exchange.span_id,
            "name": exchange.method,
            "kind": 2,
            "startTimeUnixNano": str(exchange.start_ns),
            "attributes": [attribute(k, v) for k, v in self._attributes(exchange).items() if v is not None],
        }
        if exchange.parent:
            span["parentSpanId"] = exchange.parent
        if exchange.end_ns is not None:
            failed = self._error(exchange) is not None
            span |= {"endTimeUnixNano": str(exchange.end_ns), "status": {"code": 2} if failed else {}}
        resource = {"attributes": [attribute("service.name", self.service)]}
        scope = {"scope": {"name": "butfor.edge"}, "spans": [span]}
        return {"resourceSpans": [{"resource": resource, "scopeSpans": [scope]}]}

    def _attributes(self, exchange: Exchange) -> dict[str, str | int | bool | None]:
        path, _, query = exchange.target.partition("?")
        ended, status = exchange.ended, exchange.status
        return {
            "butfor.edge": True,
            "http.request.method": exchange.method,
            "url.path": path,
            "url.query": query or None,
            "network.protocol.version": exchange.version,
            "server.port": self.port,
            "http.request.body.size": exchange.request.size or None,
            "http.response.status_code": status,
            "http.response.body.size": exchange.answer.size if status else None,
            "error.type": self._error(exchange),
            "butfor.ended": ended,
            "butfor.reset": True if exchange.reset else None,
        }

    @staticmethod
    def _error(exchange: Exchange) -> str | None:
        """What the service did wrong; that its client left before it was done is not its own failure."""
        if exchange.ended and exchange.ended != "timeout":
            return "closed"
        status = exchange.status or 0
        return str(status) if status >= 500 else None


def _keep(temporary: Path, path: Path) -> None:
    """Rename; where injected code of another user has just stored the same body, its file stays."""
    try:
        temporary.replace(path)
    except PermissionError:
        temporary.unlink()
        if not path.exists():
            raise


def attribute(key: str, value: str | int | bool) -> dict[str, Any]:
    """One OTLP/JSON attribute."""
    if isinstance(value, bool):
        return {"key": key, "value": {"boolValue": value}}
    return {"key": key, "value": {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}}


def say(line: str, stream: TextIO) -> None:
    """One line for whoever started the edge."""
    stream.write(line + "\n")
    stream.flush()
