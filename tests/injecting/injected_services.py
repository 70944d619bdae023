"""Real servers as subprocesses under injection, and what they left in their spool."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

SERVICES = Path(__file__).parent / "services"
PACKAGE = Path(__file__).parents[2] / "agent" / "butfor_inject" / "butfor_inject"


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def plain(values: list[dict[str, Any]]) -> dict[str, Any]:
    """OTLP attributes as a dict; integers come as strings."""
    return {entry["key"]: next(iter(entry["value"].values())) for entry in values}


class Spool:
    """A spool folder, read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def lines(self, kind: str) -> list[Any]:
        texts = [f.read_text() for f in sorted(self.folder.glob(f"{kind}-*.jsonl"))]
        return [json.loads(line) for text in texts for line in text.split("\n")[:-1]]

    def spans(self, kind: str = "spans") -> list[dict[str, Any]]:
        found = [
            {**span, "facts": plain(span["attributes"]), "resource": plain(line["resource"]["attributes"])}
            for resource in self.lines(kind)
            for line in resource["resourceSpans"]
            for scope in line["scopeSpans"]
            for span in scope["spans"]
        ]
        return sorted(found, key=lambda span: int(span["startTimeUnixNano"]))

    def span(self, path: str, **facts: Any) -> dict[str, Any]:
        found = [s for s in self.spans() if s["facts"].get("url.path") == path and s["kind"] == 2]
        found = [s for s in found if all(s["facts"].get(k) == v for k, v in facts.items())]
        assert len(found) == 1, (path, found)
        return found[0]

    def exceptions(self, span: dict[str, Any]) -> list[dict[str, Any]]:
        return [plain(e["attributes"]) for e in span.get("events", []) if e["name"] == "exception"]

    def samples(self, span: dict[str, Any]) -> dict[str, int]:
        """Counts by the stack's functions, joined."""
        found: dict[str, int] = {}
        for event in span.get("events", []):
            if event["name"] == "butfor.stack_sample":
                values = plain(event["attributes"])
                key = ";".join(frame[2] for frame in json.loads(values["butfor.frames"]))
                found[key] = found.get(key, 0) + int(values["butfor.count"])
        return found

    def logs(self) -> list[dict[str, Any]]:
        return [
            {**record, "facts": plain(record["attributes"]), "scope": scope["scope"]["name"]}
            for line in self.lines("logs")
            for scope in line["resourceLogs"][0]["scopeLogs"]
            for record in scope["logRecords"]
        ]

    def payload(self, span: dict[str, Any]) -> dict[str, Any]:
        found = [p for p in self.lines("payloads") if p["span_id"] == span["spanId"]]
        assert len(found) == 1, found
        return found[0]

    def body(self, digest: str) -> bytes:
        data = (self.folder / "bodies" / digest).read_bytes()
        assert hashlib.sha256(data).hexdigest() == digest
        return data

    def processes(self) -> list[dict[str, Any]]:
        return [json.loads(f.read_text()) for f in sorted(self.folder.glob("process-*.json"))]

    def modules(self) -> set[str]:
        return {name for f in self.folder.glob("modules-*.json") for name in json.loads(f.read_text())["files"]}

    def settle(self, path: str, method: str = "GET", count: int = 1) -> None:
        """Wait until requests to `path` have been written: an answer may be out before its span is."""
        deadline, wanted = time.monotonic() + 8, (method, path)
        facts = ("http.request.method", "url.path")
        while sum(tuple(s["facts"].get(f) for f in facts) == wanted for s in self.spans()) < count:
            assert time.monotonic() < deadline, f"no span for {wanted}"
            time.sleep(0.02)


class Service:
    """A running service."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, spool: Spool, log: Path) -> None:
        self.process, self.port, self.spool, self.log = process, port, spool, log

    def ask(self, method: str, path: str, body: bytes | None = None, **options: Any) -> tuple[Any, bytes]:
        """Status (or how it ended) and body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=options.get("timeout", 15))
        try:
            connection.request(method, path, body, options.get("headers", {}))
            answer = connection.getresponse()
            return answer.status, answer.read()
        except http.client.IncompleteRead as error:
            return "truncated", error.partial
        except http.client.RemoteDisconnected:
            return "closed", b""
        except TimeoutError:
            return "timeout", b""
        finally:
            connection.close()

    def get(self, path: str, **options: Any) -> tuple[Any, bytes]:
        return self.ask("GET", path, **options)

    def wait(self, seconds: float = 20.0) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.get("/", timeout=5)[0] == 200:
                    return
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def stop(self, how: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, how)
            try:
                self.process.wait(8)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(8)
