"""Outgoing calls, and services that another tracer traces already."""

from __future__ import annotations

import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from hypothesis import given
from hypothesis import strategies as st
from injected_services import SERVICES
from opentelemetry import context as otel

from butfor_inject import tracers
from butfor_inject.calls import unchunked


class Echo(BaseHTTPRequestHandler):
    """Answers with the traceparent it was asked with."""

    def do_POST(self):
        if self.path == "/slow":
            time.sleep(0.6)
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = (self.headers.get("traceparent") or "none").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_POST  # noqa: N815 - http.server's name

    def log_message(self, *_arguments):
        """Tests are quiet."""


@pytest.fixture
def downstream():
    """URL of a server that answers with the traceparent it was asked with."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_calls_are_spans_with_payloads_and_carry_the_context(start, downstream):
    service = start([sys.executable, str(SERVICES / "calling_app.py"), "PORT"], {"DOWNSTREAM": downstream})
    spool = service.spool
    for name in ("urllib", "httpx", "httpx-async", "aiohttp"):
        status, answer = service.get(f"/{name}")
        assert status == 200
        spool.settle(f"/{name}")
        server = spool.span(f"/{name}")
        call = next(s for s in spool.spans() if s["kind"] == 3 and s["parentSpanId"] == server["spanId"])
        assert answer.decode() == f"00-{server['traceId']}-{call['spanId']}-01", name
        assert call["traceId"] == server["traceId"]
        assert call["facts"]["url.full"] == f"{downstream}/echo"
        payload = spool.payload(call)
        assert payload["role"] == "client"
        assert spool.body(payload["request_body"]) == f"from {name}".encode()
        assert spool.body(payload["answer_body"]) == answer
        assert (payload["status"], payload["complete"]) == (200, True)


def test_calls_that_fail_and_calls_of_another_tracer(start, downstream):
    service = start([sys.executable, str(SERVICES / "calling_app.py"), "PORT"], {"DOWNSTREAM": downstream})
    spool = service.spool
    assert service.get("/traced")[1] == f"00-{'c' * 32}-{'d' * 16}-01".encode()
    assert service.get("/slow")[1] == b"gave up"
    assert service.get("/refused")[1] == b"refused"
    assert service.get("/in-process")[1] == b"200"
    spool.settle("/in-process")
    calls = {p["target"].rpartition("/")[2] or "refused": p for p in spool.lines("payloads") if p["role"] == "client"}
    assert set(calls) == {"echo", "slow", "refused"}
    assert (calls["echo"]["trace_id"], calls["echo"]["span_id"]) == ("c" * 32, "d" * 16)
    assert (calls["slow"]["ended"], calls["slow"]["status"]) == ("timeout", None)
    assert calls["refused"]["ended"] == "no answer"
    spans = [s for s in spool.spans() if s["kind"] == 3]
    assert "d" * 16 not in {s["spanId"] for s in spans}
    assert {s["status"]["code"] for s in spans} == {2}


def test_another_tracers_server_span_is_not_doubled(start):
    service = start([sys.executable, str(SERVICES / "traced_app.py"), "PORT"])
    assert service.get("/traced")[0] == 500
    spool = service.spool
    spool.settle("/traced")
    ids = (f"{0xABC:032x}", f"{0xDEF:016x}")
    opened = [s for s in spool.spans("open") if s["facts"]["url.path"] == "/traced"]
    assert [(s["traceId"], s["spanId"]) for s in opened] == [ids]
    written = [s for s in spool.spans() if s["facts"]["url.path"] == "/traced"]
    assert [(s["kind"], s["traceId"], s["parentSpanId"]) for s in written] == [(1, *ids)]
    ended = spool.spans("ended")
    assert [(s["traceId"], s["spanId"], bool(s["endTimeUnixNano"])) for s in ended] == [(*ids, True)]
    assert [e["exception.type"] for e in spool.exceptions(written[0])] == ["RuntimeError"]
    payload = next(p for p in spool.lines("payloads") if p["target"] == "/traced")
    assert (payload["trace_id"], payload["span_id"]) == ids
    assert spool.processes()[0]["instrumentation"] == "otlp"
    assert [s["kind"] for s in spool.spans() if s["facts"]["url.path"] == "/"] == [2]


def test_what_a_tracer_does_for_itself_is_no_call_of_the_service():
    assert not tracers.suppressed()
    token = otel.attach(otel.set_value(otel._SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        assert tracers.suppressed()
    finally:
        otel.detach(token)
    assert not tracers.suppressed()


@given(st.lists(st.binary(min_size=1, max_size=50)))
def test_chunk_framing_is_taken_off(pieces):
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    assert unchunked(framed + b"0\r\n\r\n") == b"".join(pieces)
