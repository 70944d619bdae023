"""Ends of processes that a request started: its own while it is open, nobody's afterwards."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kernel_events import event, watched
from telemetries import hexed, server, telemetry

from butfor.correlating import correlate
from butfor.evidence.incidents import Symptom
from butfor.evidence.predicates import KernelFailure

ENDS = [event(-1, "exec", errno="", failure=False), event(9000, "exec", errno="", failure=False)]
DIED = KernelFailure(kind="signal", errno="SIGSEGV", target_type="process")
FIRST, SECOND = 700, 800


def forked(at, child, trace="", pid=100):
    return event(at, "fork", trace, "s" if trace else "", errno="", failure=False, value=child, pid=pid)


def died(at, pid):
    return event(at, "signal", errno="", value=11, pid=pid, tid=pid)


def failing(events):
    spans = [server(f"r{i}", 100 * i, 100 * i + 90) for i in range(5)]
    found = correlate(watched(telemetry(spans), [*events, *ENDS]), Symptom(kernel="SIGSEGV"))
    assert found.predicate is None or found.predicate.kernel == [DIED]
    return found.failing


def test_what_ends_a_forked_process_is_of_the_request_that_forked_it():
    assert failing([forked(110, FIRST, "r1"), died(120, FIRST), forked(310, SECOND, "r3"), died(320, SECOND)]) == [1, 3]


def test_the_timelines_say_so_too_in_the_order_of_events():
    spans = [server(f"r{i}", 100 * i, 100 * i + 90) for i in range(5)]
    events = [ENDS[0], forked(110, FIRST, "r1"), died(120, FIRST), forked(310, SECOND, "r3"), ENDS[1]]
    joined = correlate(watched(telemetry(spans), events), Symptom(kernel="SIGSEGV")).joined.to_pylist()
    assert [one["event"] for one in joined] == sorted(one["event"] for one in joined)
    (one,) = [one for one in joined if one["event"] == 2]
    assert (one["span"], one["confidence"]) == (f"{hexed('r1', 32)}/{hexed('s', 16)}", 1.0)


def test_a_child_of_its_child_is_its_too():
    assert failing([forked(110, FIRST, "r1"), forked(115, SECOND, pid=FIRST), died(120, SECOND)]) == [1]


@pytest.mark.parametrize(
    "events",
    [
        [forked(110, FIRST, "r1"), died(195, FIRST)],  # after the answer it may serve others
        [forked(110, FIRST), died(120, FIRST)],  # nobody's from its beginning
        [forked(110, FIRST, "r1"), forked(130, FIRST), died(140, FIRST)],  # the id is another process's by now
        [died(105, FIRST), forked(110, FIRST, "r1")],
    ],
)
def test_what_may_be_another_requests_is_nobodys(events):
    assert failing(events) == []


@given(st.lists(st.tuples(st.integers(0, 499), st.integers(1, 4), st.booleans()), max_size=12))
def test_a_death_is_told_only_of_the_request_that_was_open_when_its_process_was_forked(drawn):
    events = [
        forked(at, 700 + child, f"r{at // 100}" if at % 100 < 90 else "") if born else died(at, 700 + child)
        for at, child, born in drawn
    ]
    expected, last = set(), {}
    told = sorted(enumerate(drawn), key=lambda one: (one[1][0], one[0]))
    for _, (at, child, born) in told:
        if born:
            last[child] = at // 100 if at % 100 < 90 else None
        elif last.get(child) == at // 100 and at % 100 <= 90:
            expected.add(at // 100)
    assert set(failing(events)) == expected
