"""Stubs replay captured answers: which one, and how it ended."""

import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butfor.ports.players import stubs
from butfor.ports.players.clients import exchange


def answer(target="/", method="GET", status=200, **more):
    return {"span": "t/s", "method": method, "target": target, "status": status, "headers": [], "body": None} | more


@pytest.fixture
def serve():
    running = []

    def start(*answers):
        stub = stubs.start(0, list(answers))
        running.append(stub)
        return stub.port

    yield start
    for stub in running:
        stub.stop()


def ask(port, target="/", method="GET", body=None, timeout=2.0):
    return exchange(port, method, target, [], body, timeout)


def test_replays_status_headers_and_body(serve, tmp_path):
    (tmp_path / "body").write_bytes(b"charged")
    headers = [["X-Id", "7"], ["X-Id", "8"], ["Content-Length", "999"], ["Transfer-Encoding", "chunked"]]
    port = serve(answer("/charge", "POST", 201, headers=headers, body=str(tmp_path / "body")))
    got = ask(port, "/charge", "POST", b"{}")
    assert (got.status, got.body, got.complete) == (201, b"charged", True)
    assert [v for n, v in got.headers if n == "X-Id"] == ["7", "8"]


def test_prefers_the_answer_to_the_same_body_then_captured_order(serve):
    digest = hashlib.sha256(b"two").hexdigest()
    other = hashlib.sha256(b"one").hexdigest()
    port = serve(
        answer("/c", "POST", 201, request_body=other),
        answer("/c", "POST", 202, request_body=digest),
        answer("/c", "POST", 203, request_body=digest),
    )
    seen = [ask(port, "/c", "POST", b).status for b in (b"two", b"one", b"two", b"two", b"three")]
    assert seen == [202, 201, 203, 203, 203]


def test_a_call_that_was_never_captured_is_told_apart(serve):
    got = ask(serve(answer("/known")), "/unknown")
    assert got.status == 502
    assert b"nothing was captured" in got.body


def test_another_query_falls_back_to_the_same_path(serve):
    assert ask(serve(answer("/rate?day=1", status=200)), "/rate?day=2").status == 200


def test_spare_answers_come_after_those_that_fit_as_well():
    own, spare = answer("/rate", status=503), answer("/rate", status=200, spare=True)
    other = answer("/limit", status=201, spare=True)
    book = stubs.Answers([own, spare, other])
    assert [book.find("GET", "/rate", b"") for _ in range(3)] == [own, own, own]
    assert book.find("GET", "/limit", b"") == other
    assert book.find("PUT", "/limit", b"") is None
    assert list(book.missed) == ["PUT /limit"]


@pytest.mark.parametrize(("ended", "seen"), [("closed", "closed"), ("reset", "closed"), ("timeout", "timeout")])
def test_replays_how_a_call_ended(serve, ended, seen):
    assert ask(serve(answer(status=None, ended=ended)), timeout=0.3).ended == seen


def test_a_downstream_that_refused_every_call_does_not_listen():
    refused, spare = answer(status=None, ended="refused"), answer(status=200, spare=True)
    assert stubs.start(0, [refused]) is None
    assert stubs.start(0, [refused, spare]) is None


def test_replays_the_delay(serve):
    start = time.monotonic()
    assert ask(serve(answer(delay_s=0.25))).status == 200
    assert time.monotonic() - start >= 0.25


def test_reads_chunked_calls(serve):
    digest = hashlib.sha256(b"abc").hexdigest()
    port = serve(answer("/", "POST", 500), answer("/", "POST", 200, request_body=digest))
    got = exchange(port, "POST", "/", [("Transfer-Encoding", "chunked")], b"abc", 2.0)
    assert got.status == 200


ANSWERS = st.lists(
    st.builds(answer, st.sampled_from(["/a", "/a?x", "/b"]), st.sampled_from(["GET", "POST"]), st.integers(200, 599)),
    max_size=8,
)


@given(ANSWERS, st.lists(st.tuples(st.sampled_from(["GET", "POST", "PUT"]), st.sampled_from(["/a", "/a?x", "/c"]))))
def test_an_answer_is_for_the_same_method_and_path(answers, calls):
    book = stubs.Answers(answers)
    for method, target in calls:
        found = book.find(method, target, b"")
        same = [a for a in answers if a["method"] == method and a["target"].split("?")[0] == target.split("?")[0]]
        assert (found is None) == (not same)
        assert found is None or found in same
        exact = [a for a in same if a["target"] == target]
        assert not exact or found in exact
