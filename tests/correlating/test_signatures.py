"""The kernel's part of a failure: what all failing requests show and no healthy one, and exceptions seen from outside."""

import dataclasses

from kernel_events import event, process, watched
from telemetries import ROOT, raised, server, span, telemetry

from butfor.correlating import correlate
from butfor.evidence.bundles import Loss
from butfor.evidence.incidents import Symptom
from butfor.evidence.predicates import KernelFailure

REFUSED = KernelFailure(kind="connect", errno="ECONNREFUSED", target_type="inet")
END = event(9000, "exec", errno="", failure=False)


def requests(failing=2, healthy=3, **more):
    bad = [server(f"bad{i}", 100 * i, 100 * i + 90, 500, **more) for i in range(failing)]
    return [*bad, *(server(f"h{i}", 1000 * (i + 1), 1000 * (i + 1) + 90) for i in range(healthy))]


def refused(trace, at, name="s", **more):
    return event(at, trace=trace, name=name, family="inet", remote="10.0.0.9:80", **more)


def predicate(events, spans=None):
    return correlate(watched(telemetry(spans or requests()), [*events, END])).predicate


def test_what_all_failing_and_no_healthy_requests_show_is_part_of_the_failure():
    both = [refused("bad0", 20), refused("bad1", 120)]
    assert predicate(both).kernel == [REFUSED]
    assert predicate(both[:1]).kernel == []
    assert predicate([*both, refused("h1", 2020)]).kernel == []


def test_what_is_not_exact_is_no_part_of_it():
    spans = requests()
    loose = [refused("bad0", 20, join="socket"), refused("bad1", 120, join="socket")]
    assert predicate(loose, spans).kernel == []


def test_too_few_healthy_requests_tell_nothing():
    both = [refused("bad0", 20), refused("bad1", 120)]
    assert predicate(both, requests(healthy=1)).kernel == []
    unwatched = correlate(watched(telemetry(requests()), both)).predicate
    assert unwatched.kernel == []


def test_where_no_request_of_the_route_is_well_what_is_well_nowhere_counts():
    bad = [server(f"bad{i}", 100 * i, 100 * i + 90, 500, route="/report/big") for i in range(2)]
    spans = [*bad, *(server(f"h{i}", 1000 * (i + 1), 1000 * (i + 1) + 90, route="/report/a") for i in range(3))]
    full = [event(20 + 100 * i, "write", f"bad{i}", "s", errno="ENOSPC") for i in range(2)]
    died = [event(30 + 100 * i, "signal", f"bad{i}", "s", errno="", value=11) for i in range(2)]
    loose = [refused("bad0", 20), refused("bad1", 120)]
    assert predicate([*full, *died, *loose], spans).kernel == [
        KernelFailure(kind="signal", errno="SIGSEGV", target_type="process"),
        KernelFailure(kind="write", errno="ENOSPC", target_type=""),
    ]
    assert predicate([*full, event(1020, "write", "h0", "s", errno="ENOSPC")], spans).kernel == []
    assert predicate(full, spans[:3]).kernel == []


def test_where_events_were_lost_what_healthy_requests_lack_is_not_known():
    told = watched(telemetry(requests()), [refused("bad0", 20), refused("bad1", 120), END])
    told = dataclasses.replace(told, losses=[Loss(where="kernel events", count=3, reason="the buffer was full")])
    found = correlate(told)
    assert found.predicate.kernel == []
    assert any("50% of the kernel's events were lost" in reason for reason in found.reasons)
    some = dataclasses.replace(told, losses=[Loss(where="kernel stacks", count=3, reason="they could not be kept")])
    assert correlate(some).predicate.kernel == [REFUSED]


def test_looking_for_something_once_is_no_failure():
    missing = event(20, "open", "bad0", "s", call="openat", errno="ENOENT", path="/x")
    full = event(20, "write", "bad0", "s", call="write", errno="ENOSPC")
    alone = requests(failing=1)
    assert predicate([missing], alone).kernel == []
    assert predicate([full], alone).kernel == [KernelFailure(kind="write", errno="ENOSPC", target_type="")]


def test_what_another_service_met_is_its_own():
    below = [
        server(f"bad{i}", 100 * i + 10, 100 * i + 80, 500, name="d", parent="s", service="pay", path="/pay")
        for i in range(2)
    ]
    events = [refused(f"bad{i}", 100 * i + 20, name="d", pid=200, tid=200) for i in range(2)]
    told = watched(telemetry([*requests(), *below]), [*events, END], [process(), process(200, "pay", inner_pid=2)])
    found = correlate(told, Symptom(service="shop"))
    assert found.predicate.service == "shop"
    assert found.predicate.kernel == []


def frames(trace, at, *lines, name="s"):
    """Frames as the probe sees them: innermost first, a microsecond apart."""
    return [
        event(at + i / 1000, "exception", trace, name, errno="", failure=False, file=f"{ROOT}/shop/{file}.py", line=line,
              function=function)
        for i, (file, line, function) in enumerate(lines)
    ]  # fmt: skip


def test_an_exception_that_nobody_else_saw_is_known_by_its_frames():
    found = correlate(
        watched(telemetry(requests()), [*frames("bad0", 20, ("pay", 7, "charge"), ("views", 3, "page")), END])
    )
    (seen,) = found.requests[0].exceptions
    assert (seen.source, seen.types, seen.message) == ("uprobe", ["Exception"], "")
    assert [(f.file, f.line, f.function) for f in seen.frames] == [
        ("shop/views.py", 3, "page"),
        ("shop/pay.py", 7, "charge"),
    ]
    assert all(f.in_repository for f in seen.frames)
    assert found.predicate.exception_types == []


def test_exceptions_one_after_the_other_are_told_apart_and_each_place_counts_once():
    passed = [
        *frames("bad0", 20, ("pay", 7, "charge"), ("pay", 3, "again")),
        *frames("bad0", 20.1, ("pay", 7, "charge")), *frames("bad0", 40, ("views", 9, "page")),
    ]  # fmt: skip
    found = correlate(watched(telemetry(requests()), [*passed, END]))
    seen = found.requests[0].exceptions
    assert [one.frames[-1].file for one in seen] == ["shop/views.py", "shop/pay.py"]


def test_an_exception_that_the_application_recorded_is_better():
    events = [raised("KeyError", "'name'", [(f"{ROOT}/shop/names.py", 5, "label")], 25)]
    spans = [server("bad0", 0, 90, 500, events=events), *requests()[1:]]
    found = correlate(watched(telemetry(spans), [*frames("bad0", 20, ("pay", 7, "charge")), END]))
    assert [one.source for one in found.requests[0].exceptions] == ["span_event"]


def test_frames_that_could_not_be_named_or_placed_are_left_out():
    odd = [event(20, "exception", "bad0", "s", errno="", failure=False), *frames("gone", 20, ("pay", 7, "charge"))]
    found = correlate(watched(telemetry(requests()), [*odd, END]))
    assert [one.exceptions for one in found.requests] == [[]] * 5


def test_spans_inside_belong_to_their_request():
    spans = [*requests(), *(span(f"bad{i}", "in", 100 * i + 5, 100 * i + 50, "s") for i in range(2))]
    assert predicate([refused(f"bad{i}", 100 * i + 20, name="in") for i in range(2)], spans).kernel == [REFUSED]
