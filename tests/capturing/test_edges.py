"""The edge passes bytes, FIN and RST on as they came, and records what passed."""

from __future__ import annotations

import hashlib
import http.client
import re
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butfor.evidence.requests import Payload
from butfor.ports.edges.bodies import Body, Recording

from .edge_tools import FOLDER, body, edge, payloads, raw_service, read_head, reset, spans

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def ask(port: int, data: bytes) -> bytes:
    """Send and read to the end; a reset is reported as `!reset`."""
    out = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            sock.sendall(data)
            while part := sock.recv(65536):
                out += part
    except ConnectionResetError:  # also while connecting, where the edge is quicker than we are
        return out + b"!reset"
    return out


def answering(answer: bytes, seen: list[bytes] | None = None):
    def handle(sock: socket.socket) -> None:
        head = read_head(sock)
        if seen is not None:
            seen.append(head)
        sock.sendall(answer)

    return handle


@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="no Python of the system")
def test_bytes_that_come_before_the_service_has_accepted_are_kept_by_every_python(tmp_path: Path) -> None:
    with raw_service(answering(OK)) as service, edge(service, tmp_path, python="/usr/bin/python3") as port:
        assert ask(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == OK


def test_only_the_traceparent_is_added(tmp_path: Path) -> None:
    seen: list[bytes] = []
    request = b"GET /a?b=c HTTP/1.1\r\nhOst:  x\r\nX-Twice: 1\r\nx-twice: 2\r\n\r\n"
    with raw_service(answering(OK, seen)) as service, edge(service, tmp_path) as port:
        assert ask(port, request) == OK
        (payload,) = payloads(tmp_path)
    added = re.search(rb"traceparent: 00-([0-9a-f]{32})-([0-9a-f]{16})-01\r\n", seen[0])
    assert added
    assert seen[0].replace(added.group(), b"") == request
    assert (added.group(1).decode(), added.group(2).decode()) == (payload["trace_id"], payload["span_id"])
    assert Payload.model_validate(payload).request_headers == [("hOst", "x"), ("X-Twice", "1"), ("x-twice", "2")]
    (span,) = spans(tmp_path)
    assert (span["at"]["url.path"], span["at"]["url.query"], span["at"]["butfor.edge"]) == ("/a", "b=c", True)
    assert span["status"] == {}
    assert body(tmp_path, payload["answer_body"]) == b"hello"


def test_an_incoming_trace_is_continued_in_place(tmp_path: Path) -> None:
    seen: list[bytes] = []
    theirs = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-00"
    with raw_service(answering(OK, seen)) as service, edge(service, tmp_path) as port:
        ask(port, b"GET / HTTP/1.1\r\nTraceParent: " + theirs + b"\r\nHost: x\r\n\r\n")
        payloads(tmp_path)
    (span,) = spans(tmp_path)
    assert (span["traceId"], span["parentSpanId"]) == ("a" * 32, "b" * 16)
    assert seen[0].split(b"\r\n")[1] == f"traceparent: 00-{'a' * 32}-{span['spanId']}-00".encode()


@pytest.mark.parametrize(
    ("answer", "closing", "ended", "status", "end"),
    [
        (b"", "fin", "closed", None, b""),
        (b"", "rst", "closed", None, b"!reset"),
        (b"HTTP/1.1 20", "fin", "closed", None, b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal", "fin", "truncated", 200, b""),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhal\r\n", "fin", "truncated", 200, b""),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", "fin", None, 200, b""),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the cut", "rst", "truncated", 200, b"!reset"),
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", "fin", None, 503, b""),
    ],
)
def test_how_an_answer_ends_is_passed_on_and_recorded(tmp_path: Path, answer, closing, ended, status, end) -> None:
    def handle(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(answer)
        time.sleep(0.05)
        if closing == "rst":
            reset(sock)

    with raw_service(handle) as service, edge(service, tmp_path) as port:
        assert ask(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == answer + end
        (payload,) = payloads(tmp_path)
    (span,) = spans(tmp_path)
    assert span["at"].get("butfor.ended") == ended
    assert payload["status"] == status
    assert payload["complete"] is (ended is None)
    assert bool(span["status"]) is (ended is not None or status == 503)
    assert span["at"].get("butfor.reset", False) is (closing == "rst")
    Payload.model_validate(payload)


def test_a_client_that_gives_up_is_seen_at_once_and_the_service_sees_it(tmp_path: Path) -> None:
    noticed = threading.Event()

    def handle(sock: socket.socket) -> None:
        read_head(sock)
        if sock.recv(1) == b"":
            noticed.set()

    with raw_service(handle) as service, edge(service, tmp_path) as port:
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(0.3)
        (payload,) = payloads(tmp_path)
        assert noticed.wait(2)
    assert (payload["ended"], payload["complete"], payload["status"]) == ("timeout", False, None)
    assert 0.25 < (payload["end_ns"] - payload["start_ns"]) / 1e9 < 0.45
    (span,) = spans(tmp_path)
    assert (span["at"]["butfor.ended"], span["at"].get("error.type"), span["status"]) == ("timeout", None, {})


def test_a_client_that_gives_up_while_the_service_reads_slowly_is_seen(tmp_path: Path) -> None:
    stop = threading.Event()

    def handle(sock: socket.socket) -> None:
        read_head(sock)
        stop.wait(5)

    data = b"x" * 9_800_000
    with raw_service(handle) as service, edge(service, tmp_path) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            sock.sendall(b"POST /up HTTP/1.1\r\nContent-Length: 9800000\r\n\r\n" + data)
            time.sleep(0.2)
        (payload,) = payloads(tmp_path)
        stop.set()
    assert payload["ended"] == "timeout"
    assert payload["request_body"] == hashlib.sha256(data).hexdigest()
    assert payload["request_truncated"] is False


def test_a_half_closing_client_that_reads_its_answer_did_not_give_up(tmp_path: Path) -> None:
    with raw_service(answering(OK)) as service, edge(service, tmp_path) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            sock.shutdown(socket.SHUT_WR)
            assert sock.recv(4096) == OK
        (payload,) = payloads(tmp_path)
    assert (payload["ended"], payload["complete"]) == (None, True)


def test_keep_alive_head_chunked_and_expect_continue(tmp_path: Path) -> None:
    def handle(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n")  # to HEAD: no body follows
        read_head(sock)
        sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        got = b""
        while not got.endswith(b"0\r\n\r\n"):
            got += sock.recv(4096)
        sock.sendall(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\nT: 1\r\n\r\n"
        )
        read_head(sock)
        sock.sendall(b"HTTP/1.1 204 No\r\n\r\n")

    with raw_service(handle) as service, edge(service, tmp_path) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            sock.sendall(b"HEAD /1 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert read_head(sock).endswith(b"99\r\n\r\n")
            sock.sendall(b"PUT /2 HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n")
            assert b"100 Continue" in sock.recv(4096)
            for part in (b"3\r", b"\nabc", b"\r\n4\r\nde", b"fg\r\n0\r\n\r\n"):
                sock.sendall(part)
                time.sleep(0.01)
            assert b"llo" in sock.recv(4096)
            sock.sendall(b"DELETE /3 HTTP/1.1\r\nHost: x\r\n\r\n")
            assert sock.recv(4096) == b"HTTP/1.1 204 No\r\n\r\n"
        found = {p["target"]: p for p in payloads(tmp_path, 3)}
    assert [found[t]["status"] for t in ("/1", "/2", "/3")] == [200, 200, 204]
    assert all(p["complete"] for p in found.values())
    assert body(tmp_path, found["/2"]["request_body"]) == b"abcdefg"
    assert body(tmp_path, found["/2"]["answer_body"]) == b"hello"
    assert found["/1"]["answer_bytes"] == 0


def test_pipelined_requests_get_their_own_answers(tmp_path: Path) -> None:
    def handle(sock: socket.socket) -> None:
        data = b""
        while data.count(b"\r\n\r\n") < 2:
            data += sock.recv(4096)
        sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\nb")

    with raw_service(handle) as service, edge(service, tmp_path) as port:
        ask(port, b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
        found = {p["target"]: p["status"] for p in payloads(tmp_path, 2)}
    assert found == {"/1": 200, "/2": 404}


def test_an_upgrade_and_what_is_not_http_pass_untouched(tmp_path: Path) -> None:
    def handle(sock: socket.socket) -> None:
        first = sock.recv(4096)
        if first.startswith(b"GET"):
            sock.sendall(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n")
            first = sock.recv(4096)
        sock.sendall(first[::-1])

    with raw_service(handle) as service, edge(service, tmp_path) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
            sock.sendall(b"GET /ws HTTP/1.1\r\nUpgrade: x\r\n\r\n")
            assert b"101" in sock.recv(4096)
            sock.sendall(b"\x00\x01GET / HTTP/1.1\r\n\r\n")
            assert sock.recv(4096) == b"\x00\x01GET / HTTP/1.1\r\n\r\n"[::-1]
        (payload,) = payloads(tmp_path)
        assert (payload["status"], payload["complete"]) == (101, True)
        assert ask(port, b"\x16\x03\x01hello") == b"olleh\x01\x03\x16"
        assert ask(port, b"PRI * HTTP/2.0\r\n\r\n") == b"PRI * HTTP/2.0\r\n\r\n"[::-1]
    assert len(spans(tmp_path)) == 1
    assert '"unread_connections": 2' in next(tmp_path.glob("edge-*.json")).read_text()


def test_a_refusing_service_is_a_reset_and_recorded_only_after_it_was_up(tmp_path: Path) -> None:
    with raw_service(answering(OK)) as service:
        pass
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with edge(service, tmp_path) as port:
        assert ask(port, request) == b"!reset"
        assert not spans(tmp_path, "open")
        with (
            socket.create_server(("127.0.0.1", service)) as again,
            socket.create_connection(("127.0.0.1", port), timeout=5) as sock,
        ):
            again.accept()[0].close()
            assert sock.recv(1) == b""
        assert ask(port, request) == b"!reset"
        (payload,) = payloads(tmp_path)
    assert (payload["ended"], payload["status"]) == ("closed", None)


def test_a_service_that_was_never_up_is_waited_for_and_then_said(tmp_path: Path) -> None:
    with raw_service(answering(OK)) as service:
        pass
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    with edge(service, tmp_path, "--wait", "0.3") as port:
        assert ask(port, request).startswith(b"HTTP/1.1 503 ")
        assert not spans(tmp_path, "open")
    with edge(service, tmp_path, "--wait", "30") as port:
        with socket.create_connection(("127.0.0.1", port)) as gone:
            gone.sendall(request)
        with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
            sock.sendall(request)
            time.sleep(0.3)
            with socket.create_server(("127.0.0.1", service)) as late:
                accepted, _ = late.accept()
                assert read_head(accepted).startswith(b"GET / ")
                accepted.sendall(OK)
                assert sock.recv(4096).startswith(b"HTTP/1.1 200")
                accepted.close()
    (payload,) = payloads(tmp_path)
    assert payload["status"] == 200


def test_streams_without_waiting_both_ways(tmp_path: Path) -> None:
    def handle(sock: socket.socket) -> None:
        read_head(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while part := sock.recv(1):
            sock.sendall(b"1\r\n" + part + b"\r\n")

    with (
        raw_service(handle) as service,
        edge(service, tmp_path) as port,
        socket.create_connection(("127.0.0.1", port), timeout=5) as sock,
    ):
        sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n")
        assert read_head(sock)
        for part in (b"a", b"b"):
            sock.sendall(part)
            assert sock.recv(64) == b"1\r\n" + part + b"\r\n"


def test_bodies_over_the_limit_are_cut_in_the_record_only(tmp_path: Path) -> None:
    with raw_service(answering(OK)) as service, edge(service, tmp_path, "--payload-limit", "3") as port:
        assert ask(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") == OK
        (payload,) = payloads(tmp_path)
    assert body(tmp_path, payload["answer_body"]) == b"hel"
    assert (payload["answer_bytes"], payload["answer_truncated"], payload["complete"]) == (5, True, True)


def test_what_is_under_way_when_the_edge_is_stopped_stays_unfinished(tmp_path: Path) -> None:
    stop = threading.Event()

    def handle(sock: socket.socket) -> None:
        read_head(sock)
        stop.wait(5)

    with raw_service(handle) as service, socket.socket() as sock:
        with edge(service, tmp_path) as port:
            sock.connect(("127.0.0.1", port))
            sock.sendall(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\nab")
            time.sleep(0.2)
        stop.set()
    assert not spans(tmp_path)
    assert len(spans(tmp_path, "open")) == 1
    (payload,) = payloads(tmp_path, 0)
    assert (payload["complete"], payload["end_ns"], payload["request_bytes"]) == (False, None, 2)


def test_a_taken_port_is_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        command = [sys.executable, str(FOLDER), "--listen", listen, "--target", listen, "--spool", str(tmp_path)]
        done = subprocess.run([*command, "--service", "x"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("edge: ")
    assert done.stderr.count("\n") == 1


def test_a_large_upload_costs_little(tmp_path: Path) -> None:
    def handle(sock: socket.socket) -> None:
        left = 9_800_000 - len(read_head(sock).partition(b"\r\n\r\n")[2])
        while left > 0:
            left -= len(sock.recv(1 << 20))
        sock.sendall(OK)

    with raw_service(handle) as service, edge(service, tmp_path) as port:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        start = time.monotonic()
        client.request("POST", "/raw", body=b"12;north;3.50\n" * 700_000)
        assert client.getresponse().read() == b"hello"
        assert time.monotonic() - start < 2
        client.close()
        assert payloads(tmp_path)[0]["request_bytes"] == 9_800_000


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.lists(st.integers(1, 30), max_size=40))
def test_chunked_content_is_found_however_it_is_cut(parts: list[bytes], cuts: list[int]) -> None:
    wire = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"
    recording = Recording(1 << 20)
    framed = Body("chunked", 0, recording)
    stream, used = wire + b"NEXT", 0
    for size in [*cuts, len(stream)]:
        piece = stream[used : used + size]
        took = framed.feed(piece, 0)
        used += took
        if took < len(piece):
            break
    assert framed.finished
    assert stream[used:] == b"NEXT"
    assert b"".join(recording.parts) == b"".join(parts)
