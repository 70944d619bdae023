"""Which captured requests are sent again, and what is carried from their answers into later ones."""

import hashlib

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from butfor.evidence.bundles import Bundle
from butfor.evidence.plays import StubAnswer
from butfor.evidence.predicates import FailurePredicate
from butfor.evidence.requests import Payload
from butfor.evidence.telemetry import LOGS, SPANS, Telemetry
from butfor.evidence.timelines import RequestSeen, Timelines
from butfor.reproducing import carrying, downstreams, selections
from butfor.reproducing.carrying import Step

TOKEN = "9f8e7d6c5b4a39281706f5e4d3c2b1a0"


class Capture:
    """Builds timelines and telemetry request by request."""

    def __init__(self, folder):
        self.folder = folder / "payloads"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.seen, self.payloads, self.spans = [], [], []

    def body(self, content: bytes) -> str | None:
        if not content:
            return None
        name = hashlib.sha256(content).hexdigest()
        (self.folder / name).write_bytes(content)
        return name

    def add(
        self, method, target, *, status=200, body=b"", answer=b"", headers=(), sets=(), ended=None, service="s", **more
    ):
        number = len(self.seen)
        trace, span = more.pop("trace", f"{number:032x}"), more.pop("id", f"{number:016x}")
        start = more.pop("start", number * 1000)
        seconds = more.pop("seconds", 0.1)
        self.payloads.append(Payload(
            trace_id=trace, span_id=span, role=more.pop("role", "edge"), service=service, method=method, target=target,
            request_headers=list(headers), request_body=self.body(body), request_bytes=len(body), status=status,
            answer_headers=list(sets), answer_body=self.body(answer), answer_bytes=len(answer), start_ns=start,
            end_ns=start + int(seconds * 1e9), complete=ended is None, request_truncated=more.pop("cut", False),
        ))  # fmt: skip
        self.seen.append(RequestSeen(
            span=f"{trace}/{span}", service=service, method=method, route=target.partition("?")[0], target=target,
            status=status, ended=ended, duration_s=seconds, start_ns=start, payload=number,
            failed=ended is not None or (status or 500) >= 500,
        ))  # fmt: skip
        self.spans.append({"trace_id": trace, "span_id": span, "parent_span_id": more.pop("parent", "")})
        return number

    def done(self):
        rows = [{**dict.fromkeys(SPANS.names), "attributes": [], "resource": [], **one} for one in self.spans]
        spans = pa.Table.from_pylist(rows, schema=SPANS)
        telemetry = Telemetry(Bundle(path=self.folder.parent, manifest=None), spans, LOGS.empty_table(), self.payloads)
        failing = [n for n, one in enumerate(self.seen) if one.failed]
        healthy = [n for n, one in enumerate(self.seen) if not one.failed]
        predicate = FailurePredicate(service="s", method="GET", route="/", status=500)
        return Timelines(
            telemetry, spans, pa.table({}), requests=self.seen, predicate=predicate, failing=failing, healthy=healthy
        ), telemetry  # fmt: skip

    def select(self, played=frozenset({"s"})):
        return selections.select(*self.done(), "s", frozenset(played))

    def plan(self, *roles):
        timelines, telemetry = self.done()
        chosen = [selections.Captured(n, timelines.requests[n], self.payloads[n]) for n in range(len(roles))]
        steps = [Step(role, one) for role, one in zip(roles, chosen, strict=True)]
        return carrying.plan_requests(steps, telemetry, self.folder.parent / "bodies")


@pytest.fixture
def capture(tmp_path):
    return Capture(tmp_path)


def test_failing_requests_are_distinct_and_healthy_ones_are_a_few_of_each_shape(capture):
    for n in range(6):
        capture.add("GET", f"/items?page={n}")
        capture.add("GET", "/items?page=0")
    capture.add("GET", "/items?page=0", headers=[("Range", "bytes=0-3")], status=206)
    for _ in range(3):
        capture.add("GET", "/fails", status=500)
    chosen = capture.select()
    assert [one.seen.target for one in chosen.failing] == ["/fails"]
    assert [one.seen.status for one in chosen.healthy] == [200, 200, 206]
    assert len({one.key for one in chosen.healthy}) == 3


def test_what_failed_each_time_is_sent_rather_than_what_also_got_through(capture):
    for _ in range(3):
        capture.add("POST", "/order", status=500, body=b"large")
        capture.add("POST", "/order", body=b"small")
    capture.add("POST", "/order", status=500, body=b"small")
    chosen = capture.select()
    assert [one.payload.request_body for one in chosen.failing] == [hashlib.sha256(b"large").hexdigest()]
    assert any("got through at other times" in note for note in chosen.notes)


def test_where_everything_got_through_at_times_all_that_failed_is_sent(capture):
    for status in (500, 200):
        capture.add("GET", "/a", status=status)
        capture.add("GET", "/b", status=status)
    assert [one.seen.target for one in capture.select().failing] == ["/a", "/b"]


def test_state_is_what_writes_and_sets_cookies_before_the_failure(capture):
    capture.add("POST", "/items", status=201)
    capture.add("POST", "/items", status=422)
    capture.add("GET", "/login", sets=[("Set-Cookie", "sid=abc; Path=/")])
    capture.add("GET", "/items")
    capture.add("GET", "/fails", status=500)
    capture.add("POST", "/items/after", status=201)
    chosen = capture.select()
    assert [one.seen.target for one in chosen.state] == ["/items", "/login"]
    assert [one.order for one in chosen.sequence] == [0, 1, 2, 3]


def test_only_what_clients_sent_is_sent_again(capture):
    outer = capture.add("GET", "/fails", status=500, trace="a" * 32, id="1" * 16)
    capture.add("GET", "/inner", service="other", trace="a" * 32, id="2" * 16, parent="1" * 16)
    capture.add("GET", "/own", service="other", trace="b" * 32, id="3" * 16)
    chosen = capture.select({"s", "other"})
    assert [one.order for one in chosen.failing] == [outer]
    assert [one.seen.target for one in chosen.healthy] == ["/own"]
    assert capture.select({"s"}).healthy == []


def test_what_cannot_be_sent_again_is_said(capture):
    capture.add("POST", "/big", body=b"x", cut=True, status=500)
    capture.add("GET", "/socket", headers=[("Upgrade", "websocket")], status=500)
    chosen = capture.select()
    assert chosen.failing == []
    assert len(chosen.notes) == 2


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("Connection", "close", True),
        ("Connection", "keep-alive", False),
        ("Host", "127.0.0.1:40123", False),
        ("Host", "shop.example.org", True),
        ("Transfer-Encoding", "chunked", True),
        ("Transfer-Encoding", "gzip, chunked", False),
        ("Content-Length", "4", False),
    ],
)
def test_what_a_client_asked_of_the_connection_is_asked_again(capture, name, value, kept):
    capture.add("POST", "/inbox", body=b"rows", headers=[(name, value)], status=500)
    assert ((name, value) in capture.plan("failing")[0].headers) == kept


def test_headers_of_the_connection_are_left_out_and_the_clients_patience_is_kept(capture):
    headers = [
        ("Host", "localhost"),
        ("Connection", "keep-alive"),
        ("X-Tenant", "one"),
        ("traceparent", "00-a-b-01"),
        ("Expect", "100"),
    ]
    capture.add("POST", "/slow", body=b"rows", headers=headers, status=None, ended="timeout", seconds=2.985)
    capture.add("GET", "/quick", seconds=0.01)
    capture.add("GET", "/long", seconds=4.0)
    slow, quick, long = capture.plan("failing", "healthy", "healthy")
    assert slow.headers == [("X-Tenant", "one")]
    assert slow.timeout_s == pytest.approx(2.985)
    assert slow.body.read_bytes() == b"rows"
    assert slow.body.stat().st_mode & 0o044, "the sandbox's user must be able to read it"
    assert quick.timeout_s == carrying.SHORTEST_TIMEOUT_S
    assert long.timeout_s == pytest.approx(40)


def test_cookies_that_the_service_set_are_kept_by_the_client(capture):
    capture.add("POST", "/login", sets=[("Set-Cookie", "sid=abc123; HttpOnly")])
    capture.add("GET", "/mine", headers=[("Cookie", "sid=abc123; theme=dark")])
    capture.add("GET", "/other", headers=[("Cookie", "theme=dark")])
    login, mine, other = capture.plan("before", "failing", "healthy")
    assert login.save == {"cookies": True}
    assert mine.headers == []
    assert other.headers == [("Cookie", "theme=dark")]


def test_a_made_up_value_is_carried_into_target_header_and_body(capture):
    capture.add("POST", "/carts", answer=b'{"cart": "' + TOKEN.encode() + b'", "n": 1}')
    capture.add(
        "POST", f"/carts/{TOKEN}/items", body=b'{"cart": "' + TOKEN.encode() + b'"}', headers=[("X-Cart", TOKEN)]
    )
    made, used = capture.plan("before", "failing")
    (name, pattern) = next(iter(made.save.items()))
    assert TOKEN not in pattern
    assert used.target == "/carts/{{" + name + "}}/items"
    assert used.headers == [("X-Cart", "{{" + name + "}}")]
    assert used.body.read_bytes() == b'{"cart": "{{' + name.encode() + b'}}"}'


def test_names_that_occur_in_a_listing_and_the_clients_own_values_stay(capture):
    capture.add("GET", "/files", answer=b'["report-2023.txt", "notes-2024.txt"]')
    capture.add("POST", "/keys", body=b'{"key": "client-key-12345678"}', answer=b'{"key": "client-key-12345678"}')
    capture.add("GET", "/files/report-2023.txt")
    capture.add("GET", "/keys/client-key-12345678")
    planned = capture.plan("healthy", "before", "failing", "failing")
    assert [one.save for one in planned] == [{}] * 4
    assert [one.target for one in planned[2:]] == ["/files/report-2023.txt", "/keys/client-key-12345678"]


def test_overlap_counts_requests_under_way_at_once(capture):
    for start in (0, 10, 20):
        capture.add("GET", "/", start=start, seconds=1.0)
    capture.add("GET", "/", start=5_000_000_000, seconds=1.0)
    assert selections.overlap(capture.select().healthy[:0]) == 1
    timelines, _ = capture.done()
    every = [selections.Captured(n, one, None) for n, one in enumerate(timelines.requests)]
    assert selections.overlap(every) == 3


def test_a_call_is_replayed_as_the_downstream_answered_it(capture):
    capture.add("GET", "/pay", status=500, trace="a" * 32, id="1" * 16)
    capture.add("GET", "/charge", service="till", trace="a" * 32, id="2" * 16, parent="1" * 16, status=None,
                ended="timeout", seconds=0.05)  # fmt: skip
    capture.add("GET", "/charge", service="till", role="server", trace="a" * 32, id="3" * 16, parent="2" * 16,
                answer=b"charged", seconds=0.12)  # fmt: skip
    timelines, telemetry = capture.done()
    calls = downstreams.Calls(telemetry, frozenset({"till"}), capture.folder.parent / "stubs")
    (answer,) = calls.stubs([timelines.requests[0]])["till"]
    assert (answer.status, answer.ended, answer.body.read_bytes()) == (200, None, b"charged")
    assert answer.delay_s == pytest.approx(0.12)
    assert answer.span == f"{'a' * 32}/{'2' * 16}"


def test_a_call_that_nobody_saw_answered_ends_as_it_ended(capture):
    capture.add("GET", "/pay", status=500, trace="a" * 32, id="1" * 16)
    capture.add(
        "GET", "http://till/charge?n=1", role="client", status=None, ended="closed", trace="a" * 32, id="2" * 16
    )
    timelines, telemetry = capture.done()
    calls = downstreams.Calls(telemetry, frozenset({"till"}), capture.folder.parent / "stubs")
    (answer,) = calls.stubs([timelines.requests[0]])["till"]
    assert (answer.target, answer.status, answer.ended) == ("/charge?n=1", None, "closed")
    two = downstreams.Calls(telemetry, frozenset({"till", "bank"}), capture.folder.parent / "stubs")
    assert two.stubs([timelines.requests[0]]) == {}, "it cannot be told which one was meant"


def test_a_broken_call_is_healed_by_the_healthy_call_most_like_it():
    def call(target, status=200, **more):
        return StubAnswer(span=target, method="GET", target=target, status=status, **more)

    healthy = [call("/rates"), call("/charge/17"), call("/charge/18", 503), call("/charge/19", ended="closed")]
    found = downstreams.healed(call("/charge/99", 500), healthy)
    assert (found.span, found.target, found.status) == ("/charge/17", "/charge/99", 200)
    assert downstreams.healed(call("/x", 500), [call("/x", 503)]) is None


@given(st.lists(st.tuples(st.sampled_from(["GET", "POST"]), st.text(max_size=30), st.binary(max_size=60)), max_size=6))
@settings(max_examples=40, deadline=None)
def test_any_capture_gives_a_plan(tmp_path_factory, entries):
    capture = Capture(tmp_path_factory.mktemp("any"))
    for method, text, answer in entries:
        capture.add(method, "/" + text, answer=answer, body=text.encode())
    planned = capture.plan(*["before"] * len(entries))
    assert [one.method for one in planned] == [method for method, _, _ in entries]
