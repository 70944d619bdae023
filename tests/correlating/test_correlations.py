"""What failed, which failures belong together, and the predicate that tells them from healthy requests."""

from __future__ import annotations

import random
import subprocess
import sys

import pytest
from telemetries import ROOT, hexed, log, payload, raised, server, span, telemetry

from butfor.correlating import correlate
from butfor.evidence.incidents import Symptom

APP = (f"{ROOT}/shop/app.py", 10, "index")
DEEP = (f"{ROOT}/shop/prices.py", 33, "Prices.total")
LIBRARY = ("/usr/lib/python3.11/json/decoder.py", 5, "decode")


def failing(trace: str, **more):
    event = raised("KeyError", "'price'", [APP, DEEP, LIBRARY])
    return server(trace, 0, 5, 500, events=[event], route="/cart/{id}", path="/cart/17", **more)


def healthy(trace: str, **more):
    return server(trace, 0, 5, 200, route="/cart/{id}", path="/cart/1", **more)


def test_a_predicate_names_status_exception_and_innermost_repository_frame() -> None:
    found = correlate(telemetry([failing("a"), failing("b"), healthy("c"), server("d", 0, 1, 404, path="/x")]))
    predicate = found.predicate
    assert predicate is not None
    assert (predicate.service, predicate.method, predicate.route, predicate.status) == (
        "shop",
        "GET",
        "/cart/{id}",
        500,
    )
    assert (predicate.exception_types, predicate.message_template) == (["KeyError"], "'price'")
    assert predicate.frame is not None
    assert (predicate.frame.file, predicate.frame.line, predicate.frame.in_repository) == ("shop/prices.py", 33, True)
    assert [found.requests[i].status for i in found.failing] == [500, 500]
    assert [found.requests[i].status for i in found.healthy] == [200, 404]
    frames = found.requests[found.failing[0]].exceptions[0].frames
    assert [frame.in_repository for frame in frames] == [True, True, False]


def test_an_edge_and_the_server_behind_it_are_one_request() -> None:
    edge = server("a", 0, 9, 500, name="edge", attributes={"butfor.edge": "true"})
    inner = server("a", 1, 8, 500, parent="edge", route="/cart/{id}")
    work = span("a", "work", 2, 7, parent="s", events=[raised("ValueError", "bad 12", [DEEP])])
    found = correlate(telemetry([work, inner, edge]))
    assert len(found.requests) == 1
    request = found.requests[0]
    assert (request.span.endswith(hexed("edge", 16)), request.route) == (True, "/cart/{id}")
    assert request.exceptions[0].template == "bad <*>"


def test_a_service_that_calls_itself_has_two_requests() -> None:
    call = span("a", "call", 2, 7, parent="s", kind="CLIENT")
    found = correlate(telemetry([server("a", 0, 9), call, server("a", 3, 6, name="again", parent="call")]))
    assert len(found.requests) == 2


def test_a_log_in_context_gives_the_exception_and_its_root_cause() -> None:
    text = f"""Traceback (most recent call last):
  File "{ROOT}/shop/prices.py", line 33, in total
    return self.prices[name]
KeyError: 'price'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "{ROOT}/shop/app.py", line 10, in index
    raise RuntimeError("no total")
RuntimeError: no total
"""
    said = {"exception.type": "RuntimeError", "exception.message": "no total", "exception.stacktrace": text}
    found = correlate(telemetry([server("a", 0, 5, 500), server("b", 0, 5)], [log("a", "s", 2, said)]))
    assert found.predicate is not None
    assert found.predicate.exception_types == ["KeyError", "RuntimeError"]
    assert found.predicate.message_template == "'price'"
    assert found.predicate.frame is not None
    assert found.predicate.frame.function == "total"
    assert found.requests[found.failing[0]].exceptions[0].source == "log"


def test_where_a_library_caught_its_own_exception_the_one_it_raised_instead_tells_who_called() -> None:
    text = f"""Traceback (most recent call last):
  File "/usr/lib/python3/dist-packages/wire/pool.py", line 5, in read
    raise WireTimeout
WireTimeout

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "{ROOT}/shop/app.py", line 10, in index
    client.get()
  File "{ROOT}/shop/clients.py", line 4, in get
    wire.get()
  File "/usr/lib/python3/dist-packages/wire/api.py", line 9, in get
    raise ReadTimeout from error
wire.ReadTimeout
"""
    frames = '[["/usr/lib/python3/dist-packages/wire/pool.py", 5, "Pool.read"]]'
    said = {"exception.type": "wire.ReadTimeout", "exception.stacktrace": text, "butfor.exception.frames": frames}
    found = correlate(telemetry([server("a", 0, 5, 500), server("b", 0, 5)], [log("a", "s", 2, said)]))
    seen = found.requests[found.failing[0]].exceptions[0]
    assert [frame.function for frame in seen.frames] == ["index", "get", "Pool.read"]
    assert found.predicate is not None
    assert found.predicate.exception_types == ["WireTimeout", "wire.ReadTimeout"]
    assert found.predicate.frame is not None
    assert (found.predicate.frame.file, found.predicate.frame.line) == ("shop/clients.py", 4)


def test_the_same_exception_seen_twice_is_one_and_keeps_the_best_source() -> None:
    events = [
        raised("KeyError", "'price'", [APP, DEEP], butfor__exception__source="raised"),
        raised("KeyError", "'price'", [], butfor__exception__source="span_event"),
    ]
    found = correlate(telemetry([server("a", 0, 5, 500, events=events)]))
    seen = found.requests[0].exceptions
    assert [(one.source, len(one.frames)) for one in seen] == [("span_event", 2)]


def test_a_broken_answer_is_truncated_and_a_closed_one_has_no_status() -> None:
    cut = payload("a", 0, 5, complete=False, ended="closed", status=200)
    shut = payload("b", 0, 5, complete=False, ended="no answer", status=None)
    found = correlate(
        telemetry([server("a", 0, 5), server("b", 0, 5, None), server("c", 0, 5)], payloads=[cut, shut]),
        Symptom(status=200),
    )
    assert [r.ended for r in sorted(found.requests, key=lambda r: r.span)] == ["truncated", "closed", None]
    assert found.predicate is not None
    assert (found.predicate.status, found.predicate.ended) == (None, "truncated")
    assert found.predicate.answer is not None
    assert found.predicate.answer.kind == "body_truncated"


def test_no_answer_in_the_symptom_means_closed() -> None:
    shut = payload("b", 0, 5, complete=False, ended="closed", status=None)
    spans = [failing("a"), failing("d"), server("b", 0, 5, None), server("c", 0, 5)]
    found = correlate(telemetry(spans, payloads=[shut]), Symptom(status="no answer"))
    assert found.predicate is not None
    assert found.predicate.ended == "closed"
    assert len(found.failing) == 1


def test_a_timeout_replays_how_long_the_client_waited_and_takes_no_consequence_for_a_cause() -> None:
    events = [raised("BrokenPipeError", "[Errno 32] Broken pipe", [APP], at=3100)]
    spans = [
        server("a", 0, 3000, None, name="edge", attributes={"butfor.ended": "timeout"}),
        server("a", 0, 9000, 200, parent="edge", events=events),
        server("b", 0, 5),
    ]
    found = correlate(
        telemetry(spans, payloads=[payload("a", 0, 3000, "edge", status=None, ended="timeout", complete=False)])
    )
    assert found.predicate is not None
    assert (found.predicate.ended, found.predicate.timeout_s, found.predicate.status) == ("timeout", 3.0, None)
    assert found.predicate.exception_types == []
    assert found.requests[found.failing[0]].exceptions[0].types == ["BrokenPipeError"]


def test_an_unfinished_request_failed_and_is_a_finding() -> None:
    found = correlate(telemetry([server("a", 0, None, None), server("b", 0, 5)]))
    assert [f.kind for f in found.findings] == ["unfinished"]
    assert found.requests[found.failing[0]].why == ["never ended"]


def test_a_slow_request_is_told_from_its_own_route() -> None:
    quick = [server(f"q{i}", 0, 20 + i) for i in range(8)]
    other = [server(f"o{i}", 0, 3000, path="/report") for i in range(5)]
    found = correlate(telemetry([*quick, *other, server("slow", 0, 4000)]))
    assert found.predicate is not None
    assert found.predicate.slower_than_s == pytest.approx((0.027 * 4) ** 0.5)
    assert [found.requests[i].duration_s for i in found.failing] == [4.0]
    assert "usually takes" in found.requests[found.failing[0]].why[0]


def test_latency_of_the_symptom_needs_no_population() -> None:
    found = correlate(telemetry([server("a", 0, 900), server("b", 0, 10)]), Symptom(latency_over_ms=500))
    assert found.predicate is not None
    assert 0.01 < (found.predicate.slower_than_s or 0) < 0.9


def test_failures_of_other_routes_with_the_same_cause_belong_together() -> None:
    other = server("z", 0, 5, 500, path="/cart.json", events=[raised("KeyError", "'price'", [APP, DEEP])])
    found = correlate(telemetry([failing("a"), failing("b"), other, healthy("c")]))
    assert len(found.failing) == 3
    assert any("same way" in reason for reason in found.reasons)


def test_the_outermost_service_keeps_the_exceptions_of_the_services_below() -> None:
    call = span("a", "call", 1, 9, parent="s", kind="CLIENT")
    below = server(
        "a", 2, 8, 500, name="pay", parent="call", service="payment", events=[raised("OSError", "disk", [DEEP])]
    )
    found = correlate(telemetry([server("a", 0, 10, 502), call, below]))
    assert found.predicate is not None
    assert (found.predicate.service, found.predicate.exception_types) == ("shop", ["OSError"])
    assert [one.types[0] for one in found.requests[found.failing[0]].exceptions] == ["OSError"]
    assert any("calls" in reason for reason in found.reasons)


def test_a_symptom_chooses_the_group_and_a_symptom_not_seen_is_said() -> None:
    rare = server("r", 0, 5, 503, path="/pay", events=[raised("TimeoutError", "", [APP])])
    spans = [failing("a"), failing("b"), rare, healthy("c")]
    found = correlate(telemetry(spans), Symptom(route="/pay", status=503))
    assert found.predicate is not None
    assert found.predicate.route == "/pay"
    unseen = correlate(telemetry(spans), Symptom(route="/elsewhere", status=500))
    assert unseen.predicate is None
    assert "no captured failure shows the symptom" in unseen.reasons[0]


def test_an_exception_in_an_answered_request_counts_only_by_symptom() -> None:
    spans = [server("a", 0, 5, 200, events=[raised("KeyError", "'x'", [APP])]), healthy("c")]
    assert correlate(telemetry(spans)).predicate is None
    found = correlate(telemetry(spans), Symptom(status=200, exception="KeyError"))
    assert found.predicate is not None
    assert found.predicate.exception_types == ["KeyError"]


def test_nothing_captured_and_nothing_failed_are_reasons() -> None:
    assert correlate(telemetry([])).reasons == ["no request was captured"]
    found = correlate(telemetry([healthy("a")]))
    assert found.predicate is None
    assert found.reasons == ["none of 1 captured requests failed"]


def test_where_others_fail_outright_the_slow_count_as_answered() -> None:
    quick = [server(f"q{i}", 0, 20) for i in range(8)]
    spans = [*quick, server("slow", 0, 4000), failing("a")]
    found = correlate(telemetry(spans))
    assert found.predicate is not None
    assert (found.predicate.status, len(found.failing), len(found.healthy)) == (500, 1, 9)
    asked = correlate(telemetry(spans), Symptom(latency_over_ms=1000))
    assert asked.predicate is not None
    assert asked.predicate.slower_than_s is not None


def test_keys_that_differ_at_one_line_are_one_failure() -> None:
    frames = [APP, DEEP]
    spans = [server(f"k{i}", 0, 5, 500, events=[raised("KeyError", f"'{key}'", frames)]) for i, key in enumerate("abc")]
    found = correlate(telemetry(spans))
    assert found.predicate is not None
    assert (found.predicate.message_template, len(found.failing)) == ("<*>", 3)
    elsewhere = server("z", 0, 5, 500, events=[raised("KeyError", "'d'", [(DEEP[0], 99, DEEP[2])])])
    assert len(correlate(telemetry([*spans, elsewhere])).failing) == 3


def test_a_trace_without_a_server_span_is_told_by_its_root() -> None:
    job = span("a", "nightly", 0, 50, status="ERROR")
    step = span("a", "step", 1, 40, parent="nightly", events=[raised("OSError", "disk", [DEEP])])
    found = correlate(telemetry([job, step, span("b", "nightly", 0, 9)]))
    assert found.predicate is not None
    assert (found.predicate.route, found.predicate.exception_types) == ("nightly", ["OSError"])
    assert len(found.healthy) == 1


def test_a_logged_exception_tells_an_answered_request_that_shows_the_status() -> None:
    spans = [server("a", 0, 5, 200, events=[raised("KeyError", "'x'", [APP])]), healthy("c")]
    found = correlate(telemetry(spans), Symptom(status=200))
    assert found.predicate is not None
    assert found.predicate.exception_types == ["KeyError"]
    assert "only by an exception" in correlate(telemetry([healthy("c")]), Symptom(status=200)).reasons[0]


def test_the_order_of_rows_does_not_matter() -> None:
    spans = [failing(f"f{i}") for i in range(3)] + [healthy(f"h{i}") for i in range(3)]
    spans += [span("f0", "w", 1, 2, parent="s")]
    first = correlate(telemetry(spans))
    random.Random(1).shuffle(spans)
    second = correlate(telemetry(spans))
    assert first.requests == second.requests
    assert first.predicate == second.predicate
    assert first.spans.equals(second.spans)
    assert first.segments.equals(second.segments)


def test_reading_and_correlating_does_without_pandas() -> None:
    code = (
        "import sys; import pyarrow as pa; from butfor.evidence.telemetry import SPANS; "
        "pa.Table.from_pylist([], SPANS); pa.array([1]); assert 'pandas' not in sys.modules; "
        "import colorsys"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_requests_that_show_the_symptom_as_well_are_rivals() -> None:
    spans = [server("a", 0, 5, 404, path="/none"), server("b", 1, 5, 404, path="/list"), server("c", 2, 5, 200)]
    found = correlate(telemetry(spans), Symptom(status=404))
    assert found.predicate is not None
    assert sorted([*found.failing, *found.rivals]) == [0, 1]
    assert correlate(telemetry(spans), Symptom(status=404, route="/list")).rivals == []
