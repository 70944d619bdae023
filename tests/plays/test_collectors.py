"""Services that carry an SDK find a collector beside them, and what it took is in the spool."""

from __future__ import annotations

import http.client
import json
import sys
import threading
from pathlib import Path

import pytest

from butfor.evidence.plays import Plan, PlannedRequest, PlannedService
from butfor.ingesting.collecting import collect
from butfor.ports.interpreters import interpreter
from butfor.ports.players import collectors
from butfor.ports.plays import play

PYTHON = str(interpreter(sys.executable).executable)
DOCUMENT = {
    "resourceSpans": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "its-own"}}]},
                       "scopeSpans": [{"scope": {"name": "sdk"}, "spans": [
                           {"traceId": "a" * 32, "spanId": "b" * 16, "name": "GET /", "kind": 2,
                            "startTimeUnixNano": "1", "endTimeUnixNano": "2"}]}]}]
}  # fmt: skip
APP = """
import http.client, http.server, json, os, urllib.parse

DOCUMENT = %s

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        wanted = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_SERVICE_NAME")
        body = json.dumps({name: os.environ.get(name) for name in wanted}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if self.path == "/export":
            at = urllib.parse.urlsplit(os.environ[wanted[0]])
            connection = http.client.HTTPConnection(at.netloc)
            connection.request("POST", at.path + "/v1/traces", json.dumps(DOCUMENT), {"Content-Type": "application/json"})
            connection.getresponse().read()

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""  # fmt: skip


@pytest.fixture
def collector(tmp_path):
    """A running collector: its port, and the bytes of its file."""
    server = collectors.Server(0, collectors.Frames(tmp_path, room=1000))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield server.server_port, next(tmp_path.glob("otlp-*.frames"))
    server.shutdown()
    thread.join()
    server.server_close()


def post(port: int, path: str, body: bytes, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_bodies_are_kept_as_they_came_up_to_the_room_there_is(collector):
    port, file = collector
    assert post(port, "/a%20shop/v1/traces", b"\x00\n\xff", Content_Type="application/x-protobuf") == (200, b"")
    assert post(port, "/shop/v1/logs", b"{}", Content_Type="application/json; charset=utf-8") == (200, b"{}")
    head, _, rest = file.read_bytes().partition(b"\n")
    assert json.loads(head) == {
        "service": "a shop", "signal": "traces", "content_type": "application/x-protobuf",
        "content_encoding": "identity", "bytes": 3,
    }  # fmt: skip
    assert rest.startswith(b"\x00\n\xff{")
    assert post(port, "/shop/v1/traces", b"x" * 2000)[0] == 400
    assert post(port, "/shop/v1/traces", b"x", Content_Length="many")[0] == 411
    assert post(port, "/v1/traces", b"x")[0] == 404
    assert b"xx" not in file.read_bytes()


def test_an_environment_with_the_exporter_over_grpc_alone_is_not_asked_to_export(tmp_path):
    proto = tmp_path / "lib" / "python3.11" / "site-packages" / "opentelemetry" / "exporter" / "otlp" / "proto"
    assert collectors.speaks(None)
    assert collectors.speaks(str(tmp_path))
    (proto / "grpc").mkdir(parents=True)
    assert not collectors.speaks(str(tmp_path))
    (proto / "http").mkdir()
    assert collectors.speaks(str(tmp_path))


@pytest.mark.parametrize("wanted", [True, False])
def test_a_service_exports_to_the_collector_of_a_play_that_collects(best, tmp_path, wanted):
    worktree = tmp_path / "source"
    worktree.mkdir()
    (worktree / "app.py").write_text(APP % json.dumps(DOCUMENT))
    service = PlannedService(name="shop", worktree=worktree, run=f"exec {PYTHON} app.py", inject=False)
    target = "/export" if wanted else "/"
    asked = PlannedRequest(id="1", role="healthy", service="shop", method="GET", target=target)
    plan = Plan(services=[service], requests=[asked], deadline_s=30, collect=wanted)
    seen = play(plan, sandbox=best, folder=tmp_path / "play")
    assert seen.started, seen.reason
    told = json.loads(Path(str(seen.answers[0].body)).read_text())
    assert (told["OTEL_EXPORTER_OTLP_ENDPOINT"] is not None) is wanted
    assert told["OTEL_SERVICE_NAME"] == ("shop" if wanted else None)
    assert collect(seen.spool, {"shop": "c" * 40}) == []
    lines = [line for path in seen.spool.glob("spans-*") for line in path.read_text().splitlines()]
    assert len(lines) == int(wanted)
    assert not wanted or ("c" * 40 in lines[0] and '"b' in lines[0])
