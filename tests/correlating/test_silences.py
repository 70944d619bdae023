"""Failures that no answer shows: told by the kernel in some requests and not in others of their route, or by a user."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_events import event, watched
from telemetries import server, telemetry

from butfor.correlating import correlate
from butfor.correlating.silences import fits
from butfor.evidence.incidents import Symptom
from butfor.evidence.kernels import KERNEL, LOCK_WAIT_NS, LOOKUPS, with_lock_waits
from butfor.evidence.predicates import KernelFailure

ENDS = [event(-1, "exec", errno="", failure=False), event(9000, "exec", errno="", failure=False)]
REFUSED = KernelFailure(kind="connect", errno="ECONNREFUSED", target_type="inet")
WELL = 6


def requests(count=WELL, **more):
    return [server(f"r{i}", 100 * i, 100 * i + 90, **more) for i in range(count)]


def refused(number, kind="connect", **more):
    return event(100 * number + 20, kind, trace=f"r{number}", name="s", family="inet", **more)


def seen(events, symptom=None, spans=None):
    return correlate(watched(telemetry(spans or requests()), [*events, *ENDS]), symptom)


def test_requests_that_were_answered_well_fail_where_the_kernel_saw_it_and_in_others_it_did_not():
    found = seen([refused(1), refused(4)])
    assert (found.predicate.kernel, found.predicate.by_kernel) == ([REFUSED], True)
    assert (found.predicate.status, found.predicate.ended, found.predicate.exception_types) == (None, None, [])
    assert found.failing == [1, 4]
    assert sorted(found.healthy) == [0, 2, 3, 5]
    assert [one.failed for one in found.requests] == [False, True, False, False, True, False]
    assert found.requests[1].why == ["the kernel saw connect ECONNREFUSED"]


def test_a_connect_that_does_not_block_is_refused_in_the_same_way():
    assert seen([refused(1), refused(4, "so_error")]).failing == [1, 4]


def test_what_every_request_of_a_route_shows_is_its_way_of_working():
    assert seen([refused(i) for i in range(WELL)]).predicate is None
    assert seen([refused(i) for i in range(WELL - 1)]).predicate is None


def test_what_one_route_always_does_is_no_failure_where_another_seldom_does():
    other = [server(f"r{i}", 100 * i, 100 * i + 90, path="/pay") for i in range(WELL, WELL + 3)]
    found = seen([refused(i) for i in (1, 4, *range(WELL, WELL + 3))], spans=[*requests(), *other])
    assert found.failing == [1, 4]


@pytest.mark.parametrize("errno", ["ECONNRESET", "EPIPE", "ENOTCONN", "ENOENT"])
def test_what_healthy_programs_meet_all_the_time_is_no_failure_unless_a_user_says_so(errno):
    met = [refused(1, "send", errno=errno), refused(4, "send", errno=errno)]
    assert seen(met).predicate is None
    assert seen(met, Symptom(kernel=errno)).failing == [1, 4]


def test_a_user_names_it_even_where_every_request_shows_it():
    found = seen([refused(i) for i in range(WELL)], Symptom(kernel="connect ECONNREFUSED"))
    assert (found.predicate.kernel, found.failing) == ([REFUSED], list(range(WELL)))
    assert seen([refused(1)], Symptom(kernel="econnrefused", route="/cart")).failing == [1]


def test_what_a_user_named_is_never_replaced():
    absent = seen([refused(1), refused(2)], Symptom(kernel="write ENOSPC"))
    assert absent.predicate is None
    assert absent.reasons == ["no captured request shows write ENOSPC in the kernel"]
    assert seen([refused(1)], Symptom(kernel="ECONNREFUSED", route="/pay")).predicate is None
    broken = [*requests(), server("bad", 8000, 8090, 500)]
    assert seen([], Symptom(kernel="ECONNREFUSED"), broken).predicate is None
    assert seen([refused(1)], Symptom(kernel="ECONNREFUSED"), broken).failing == [1]
    unwatched = correlate(telemetry(requests()), Symptom(kernel="ECONNREFUSED"))
    assert unwatched.reasons == ["what the kernel saw in requests was not captured"]


@pytest.mark.parametrize("symptom", [{"status": 200}, {"exception": "KeyError"}, {"latency_over_ms": 900.0}])
def test_what_a_user_saw_in_an_answer_comes_before_what_nobody_asked_for(symptom):
    assert seen([refused(1), refused(2)], Symptom(**symptom)).predicate is None


def test_an_answer_that_failed_comes_first():
    found = seen([refused(1), refused(2)], spans=[*requests(), server("bad", 8000, 8090, 500)])
    assert (found.predicate.status, found.predicate.by_kernel) == (500, False)


@pytest.mark.parametrize(
    ("said", "fitting"),
    [("connect", True), ("Connect econnrefused inet", True), ("ECONNREFUSED", True), ("connect EPERM", False)],
)
def test_each_word_must_name_a_part(said, fitting):
    assert fits(REFUSED, said) is fitting


@pytest.mark.parametrize("said", ["", "   ", "a b c d e", "x" * 201])
def test_words_that_can_name_nothing_are_refused(said):
    with pytest.raises(ValueError, match="kernel"):
        Symptom(kernel=said)


@given(st.lists(st.tuples(
    st.integers(0, WELL - 1), st.sampled_from(["connect", "write", "open"]),
    st.sampled_from(["ECONNREFUSED", "ENOSPC", "ENOENT", "EMFILE"]), st.sampled_from(["thread", "socket"]),
), max_size=20))  # fmt: skip
def test_failing_requests_show_all_of_it_and_healthy_ones_none_of_it(drawn):
    found = seen([refused(i, kind, errno=errno, join=join) for i, kind, errno, join in drawn])
    exact = {(i, kind, errno) for i, kind, errno, join in drawn if join == "thread"}
    if found.predicate is None:
        shown = {(kind, errno) for _, kind, errno in exact if errno not in LOOKUPS}
        assert all(sum((i, *one) in exact for i in range(WELL)) > WELL - 2 for one in shown)
        return
    (one,) = found.predicate.kernel
    assert one.errno not in LOOKUPS
    assert found.failing == [i for i in range(WELL) if (i, one.kind, one.errno) in exact]
    assert sorted([*found.failing, *found.healthy]) == list(range(WELL))
    assert len(found.healthy) >= 2


def waited(number, ms, call="futex", **more):
    return event(
        100 * number + 80, "off_cpu", f"r{number}", "s", call=call, errno="", failure=False, duration_ns=int(ms * 1e6),
        **more,
    )  # fmt: skip


def test_a_long_wait_for_a_lock_is_a_failure_where_a_user_says_so_and_only_there():
    waits = [waited(1, 150), waited(2, 20), waited(3, 150, "recvfrom"), waited(4, 100, "flock")]
    found = seen(waits, Symptom(kernel="futex lock", latency_over_ms=50.0))
    assert found.predicate.kernel == [KernelFailure(kind="off_cpu", errno="", target_type="lock")]
    assert (found.failing, found.predicate.slower_than_s) == ([1, 4], None)
    assert seen(waits).predicate is None


def test_where_the_kernel_was_not_watched_what_else_a_user_saw_is_explained():
    spans = [*requests(), server("slow", 8000, 8900)]
    found = correlate(telemetry(spans), Symptom(kernel="futex lock", latency_over_ms=500.0))
    assert (found.predicate.by_kernel, found.failing) == (False, [WELL])
    assert "what the kernel saw in requests was not captured" in found.reasons


@given(st.lists(st.tuples(st.sampled_from(["futex", "flock", "recvfrom"]), st.integers(0, 10**9), st.booleans())))
def test_waits_change_nothing_but_what_they_are_about(drawn):
    told = [event(i, "off_cpu", call=call, duration_ns=ns, failure=failed, family="inet") for i, (call, ns, failed) in
            enumerate(drawn)]  # fmt: skip
    before = pa.Table.from_pylist(told, KERNEL)
    after = with_lock_waits(before)
    assert after.schema == before.schema
    long = [call != "recvfrom" and ns >= LOCK_WAIT_NS for call, ns, _ in drawn]
    assert after["family"].to_pylist() == ["lock" if one else "inet" for one in long]
    assert after["failure"].to_pylist() == [one or failed for one, (_, _, failed) in zip(long, drawn, strict=True)]
    kept = [name for name in KERNEL.names if name not in ("family", "failure")]
    assert after.select(kept).equals(before.select(kept))
