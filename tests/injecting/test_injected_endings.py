"""Requests that got no whole answer, and slow ones whose process is killed."""

from __future__ import annotations

import json
import signal
import sys
import time

import pytest
from test_injected_servers import COMMANDS, EVERY, SERVICES

TOLD = [case for case in EVERY if case.values[0] != "wsgi-hypercorn"]
"""Hypercorn runs a WSGI application behind a queue that never tells it."""


@pytest.mark.parametrize("name", TOLD)
def test_client_gives_up(start, name):
    service = start(COMMANDS[name])
    assert service.get("/waiting", timeout=0.5)[0] == "timeout"
    service.spool.settle("/waiting")
    span = service.spool.span("/waiting")
    assert (span["facts"]["butfor.ended"], span["facts"].get("error.type")) == ("timeout", None)
    assert "status" not in span
    payload = service.spool.payload(span)
    assert (payload["complete"], payload["ended"]) == (False, "timeout")


@pytest.mark.parametrize("name", [pytest.param(n, marks=()) for n in ("asgi-uvicorn", "wsgi-werkzeug")])
def test_killed_process_keeps_the_open_span_and_its_stacks(start, name):
    service = start(COMMANDS[name])
    assert service.get("/waiting", timeout=1.3)[0] == "timeout"
    service.stop(signal.SIGKILL)
    opened = [s for s in service.spool.spans("open") if s["facts"]["url.path"] == "/waiting"]
    assert opened
    assert not any("endTimeUnixNano" in s for s in opened)
    assert not [s for s in service.spool.spans() if s["facts"].get("url.path") == "/waiting"]
    assert any("waiting" in stack for s in opened for stack in service.spool.samples(s))
    assert len({s["spanId"] for s in opened}) == 1


def test_exception_after_the_handler_closes_the_connection(start):
    service = start([sys.executable, str(SERVICES / "aiohttp_app.py"), "PORT"])
    assert service.get("/late")[0] == "closed"
    service.spool.settle("/late")
    span = service.spool.span("/late")
    assert span["facts"]["butfor.ended"] == "closed"
    assert "http.response.status_code" not in span["facts"]
    seen = service.spool.exceptions(span)
    assert [e["exception.type"] for e in seen] == ["NotADirectoryError"]
    assert json.loads(seen[0]["butfor.exception.frames"])[-1][2] == "Late.prepare"
    log = next(r for r in service.spool.logs() if r["facts"].get("exception.type") == "NotADirectoryError")
    assert (log["traceId"], log["spanId"]) == (span["traceId"], span["spanId"])
    payload = service.spool.payload(span)
    assert (payload["status"], payload["complete"], payload["ended"]) == (None, False, "closed")


def test_sent_file_is_kept(start):
    service = start([sys.executable, str(SERVICES / "aiohttp_app.py"), "PORT"])
    expected = (SERVICES / "aiohttp_app.py").read_bytes()
    assert service.get("/file") == (200, expected)
    status, part = service.get("/file", headers={"Range": "bytes=3-9"})
    assert (status, part) == (206, expected[3:10])
    service.spool.settle("/file", count=2)
    bodies = [service.spool.payload(s) for s in service.spool.spans() if s["facts"]["url.path"] == "/file"]
    assert [service.spool.body(p["answer_body"]) for p in bodies] == [expected, expected[3:10]]


def test_body_past_the_limit_is_counted_and_said_to_be_truncated(start):
    service = start(COMMANDS["wsgi-werkzeug"], {"BUTFOR_PAYLOAD_LIMIT": "1000"})
    assert service.ask("POST", "/", b"ab" * 4000) == (200, b"got 8000")
    service.spool.settle("/", "POST")
    payload = service.spool.payload(service.spool.span("/", **{"http.request.method": "POST"}))
    assert (payload["request_bytes"], payload["request_truncated"]) == (8000, True)
    assert service.spool.body(payload["request_body"]) == b"ab" * 500


def test_large_body_goes_to_a_file_and_is_whole(start):
    service = start(COMMANDS["wsgi-werkzeug"])
    data = bytes(range(256)) * 20_000
    began = time.monotonic()
    assert service.ask("POST", "/", data) == (200, b"got 5120000")
    assert time.monotonic() - began < 3
    service.spool.settle("/", "POST")
    payload = service.spool.payload(service.spool.span("/", **{"http.request.method": "POST"}))
    assert service.spool.body(payload["request_body"]) == data
    assert not list((service.spool.folder / "bodies").glob(".*.tmp"))
