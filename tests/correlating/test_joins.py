"""Kernel events joined to spans: exact where the kernel read the thread, else with what is known and how sure it is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_events import event, process, watched
from telemetries import BASE, MS, hexed, server, span, telemetry

from butfor.correlating import correlate
from butfor.correlating.intervals import Starts, members, pieces


def joined(spans, events, processes=None):
    found = correlate(watched(telemetry(spans), events, processes))
    rows = found.joined.to_pylist()
    return [(r["event"], r["span"], r["join_source"], round(r["confidence"], 3)) for r in rows], found


def ref(trace, name):
    return f"{hexed(trace, 32)}/{hexed(name, 16)}"


def on_thread(trace, name, start, end, thread="1", **more):
    return span(trace, name, start, end, attributes={"thread.id": thread}, **more)


def test_a_record_of_an_open_span_is_exact():
    spans = [server("t", 0, 100), span("t", "charge", 10, 50, "s")]
    rows, found = joined(spans, [event(20, trace="t", name="charge"), event(60, trace="t", name="s")])
    assert rows == [(0, ref("t", "charge"), "thread", 1.0), (1, ref("t", "s"), "thread", 1.0)]
    assert (found.join.exact, found.join.inferred, found.join.unattributed) == (2, 0, 0)


def test_a_record_of_a_span_that_had_ended_is_not_exact_and_is_a_finding():
    rows, found = joined([server("t", 0, 10)], [event(200, trace="t", name="s")])
    assert rows == [(0, ref("t", "s"), "thread", 0.5)]
    assert found.join.exact == 0
    assert [f.evidence for f in found.findings if f.kind == "stale_context"] == [["kernel:0"]]


def test_what_began_in_a_span_and_ended_after_it_is_that_spans():
    rows, _ = joined([server("t", 0, 10)], [event(200, "off_cpu", "t", "s", duration_ns=195 * MS)])
    assert rows == [(0, ref("t", "s"), "thread", 1.0)]


def test_a_span_that_never_ended_is_open_until_the_last():
    rows, _ = joined([server("t", 0, None, None)], [event(9000, trace="t", name="s")])
    assert rows == [(0, ref("t", "s"), "thread", 1.0)]


def test_a_record_of_a_span_that_was_not_captured_names_its_trace_and_is_a_finding():
    rows, found = joined([server("t", 0, 100)], [event(20, trace="t", name="lost"), event(20, trace="u", name="lost")])
    assert rows == [(0, ref("t", "s"), "thread", 0.9)]
    assert [f.evidence for f in found.findings if f.kind == "unknown_span"] == [["kernel:0", "kernel:1"]]


def test_a_span_that_was_not_captured_is_taken_for_the_nearest_that_its_own_process_did_for_the_trace():
    pid = {"resource": [("service.name", "stock"), ("process.pid", "1")]}
    stock = {"service": "stock", **pid}
    spans = [
        server("t", 0, 100), span("t", "c1", 10, 30, "s"), span("t", "c2", 40, 90, "s"), server("v", 0, 100, name="z"),
        server("t", 12, 28, name="a", parent="c1", **stock), server("t", 45, 80, name="b", parent="c2", **stock),
    ]  # fmt: skip
    events = [event(at, trace="t", name="lost", pid=200) for at in (11, 20, 29, 44, 81)]
    events += [event(20, trace="t", name="lost", pid=999), event(20, trace="v", name="lost", pid=200)]
    rows, _ = joined(spans, events, [process(200, "stock")])
    assert [row[1] for row in rows] == [ref("t", name) for name in "aaabb"] + [ref("t", "s"), ref("v", "z")]
    assert {row[2:] for row in rows} == {("thread", 0.9)}


def test_a_request_that_was_not_captured_when_none_was_is_told_as_that():
    spans = [server("t", 0, 100), server("u", 50, 300), server("v", 400, 500)]
    probes = [event(at, trace="probe", name="lost") for at in (-20, 200, 350, 900)]
    others = [event(200, trace="other", name="lost"), event(-20, trace="t", name="lost")]
    rows, found = joined(spans, [*probes, *others])
    assert rows == [(5, ref("t", "s"), "thread", 0.9)]
    told = {f.kind: f.evidence for f in found.findings}
    assert told == {
        "unknown_span": ["kernel:4", "kernel:5"],
        "uncaptured_request": ["kernel:0", "kernel:1", "kernel:2", "kernel:3"],
    }
    [detail] = [f.detail for f in found.findings if f.kind == "uncaptured_request"]
    assert detail.startswith("4 events, 1 before the first captured request: ")
    assert (found.join.outside, found.join.unattributed) == (4, 1)


def test_a_socket_for_which_no_span_was_stored_names_none_that_was_lost():
    stored = event(50, "tcp_state", errno="", join="socket", miss="")
    rows, found = joined([server("t", 0, 100)], [stored])
    assert rows == [(0, ref("t", "s"), "window", 0.8)]
    assert found.findings == []


def test_one_span_id_in_two_traces_is_told_apart():
    spans = [server("t", 0, 100), server("u", 0, 100)]
    rows, _ = joined(spans, [event(20, trace="u", name="s"), event(20, trace="t", name="s")])
    assert [row[1] for row in rows] == [ref("u", "s"), ref("t", "s")]


def test_what_was_stored_for_a_socket_is_less_sure_once_the_span_is_over():
    spans = [server("t", 0, 100)]
    rows, found = joined(spans, [event(t, "retransmit", "t", "s", join="socket") for t in (50, 500)])
    assert [row[2:] for row in rows] == [("socket", 0.9), ("socket", 0.5)]
    assert (found.join.exact, found.join.inferred) == (0, 2)


def test_a_thread_that_exact_events_named_is_read_off_its_own_spans():
    spans = [
        on_thread("t", "a", 0, 100, "1"), on_thread("t", "inner", 40, 60, "1", parent="a"),
        on_thread("u", "b", 0, 100, "2"),
    ]  # fmt: skip
    events = [event(10, trace="t", name="a", tid=7), event(50, tid=7, miss="fault"), event(70, tid=7, miss="fault")]
    rows, _ = joined(spans, events)
    assert rows[1:] == [(1, ref("t", "inner"), "timeline", 0.9), (2, ref("t", "a"), "timeline", 0.9)]


def test_a_thread_on_which_requests_take_turns_is_less_sure():
    spans = [on_thread("t", "a", 0, 100), on_thread("u", "b", 10, 90)]
    events = [event(5, trace="t", name="a", tid=7), event(50, tid=7, miss="fault")]
    rows, _ = joined(spans, events)
    assert rows[1:] == [(1, ref("u", "b"), "timeline", 0.45)]


def test_a_thread_whose_record_said_that_no_span_was_active_was_in_none():
    spans = [on_thread("t", "a", 0, 100)]
    rows, found = joined(spans, [event(5, trace="t", name="a", tid=7), event(50, tid=7, miss="null")])
    assert [row[0] for row in rows] == [0]
    assert found.join.outside == 1


@pytest.mark.parametrize("silent", [{"miss": "null"}, {"join": "socket", "miss": "", "kind": "retransmit"}])
def test_where_records_tell_spans_a_record_that_tells_none_is_believed(silent):
    spans = [server("t", 0, 100)]
    told = event(5, trace="t", name="s", tid=7)
    rows, found = joined(spans, [told, event(50, tid=8, **silent), event(50, tid=8, miss="no_slot")])
    assert [(row[0], row[2]) for row in rows] == [(0, "thread"), (2, "window")]
    assert (found.join.exact, found.join.inferred, found.join.outside) == (1, 1, 1)
    rows, _ = joined(spans, [event(50, pid=100, tid=8, **silent)])
    assert [row[2] for row in rows] == ["window"]  # nothing says that this process keeps any


def test_without_anything_else_the_open_requests_of_the_process_share():
    spans = [server("t", 0, 100), server("u", 40, 100, name="r"), span("t", "inner", 10, 90, "s")]
    rows, found = joined(spans, [event(20), event(50), event(200)])
    assert rows[0] == (0, ref("t", "s"), "window", 0.8)
    assert [row[1:] for row in rows[1:]] == [(ref("t", "s"), "window", 0.4), (ref("u", "r"), "window", 0.4)]
    assert (found.join.inferred, found.join.outside) == (2, 1)


def test_one_of_too_many_is_no_answer():
    spans = [server(f"t{i}", i, 100, name=f"s{i}") for i in range(20)]
    rows, found = joined(spans, [event(50)])
    assert rows == []
    assert found.join.unattributed == 1


def test_a_process_of_no_service_is_joined_to_nothing():
    rows, found = joined([server("t", 0, 100)], [event(20, pid=9, tid=9)])
    assert rows == []
    assert found.join.unattributed == 1


def test_processes_of_one_service_are_told_apart_by_their_pids():
    def worker(trace, pid):
        return server(trace, 0, 100, name=trace, resource=[("service.name", "shop"), ("process.pid", pid)])

    known = [process(100, inner_pid=11), process(200, inner_pid=12)]
    rows, _ = joined([worker("t", "11"), worker("u", "12")], [event(20, pid=200, tid=200)], known)
    assert rows == [(0, ref("u", "u"), "window", 0.8)]


def test_what_a_child_does_is_its_parents():
    known = [process(), process(101, service="", parent=100, inner_pid=2)]
    rows, _ = joined([server("t", 0, 100)], [event(20, pid=101, tid=101)], known)
    assert rows == [(0, ref("t", "s"), "window", 0.8)]


def test_a_connection_leads_to_the_client_span_of_its_peer():
    def call(trace, name, port, parent):
        at = {"network.peer.address": "10.0.0.1", "network.peer.port": port}
        return span(trace, name, 10, 90, parent, kind="CLIENT", attributes=at)

    spans = [server("t", 0, 100), call("t", "one", 80, "s"), server("u", 0, 100, name="r"), call("u", "two", 81, "r")]
    rows, _ = joined(spans, [event(50, remote="10.0.0.1:81"), event(50, remote="10.0.0.1:82")])
    assert rows[0] == (0, ref("u", "two"), "connection", 0.8)
    assert [row[2] for row in rows[1:]] == ["window", "window"]


def test_the_recording_proxys_spans_are_no_process_of_the_service():
    edge = server("t", 0, 100, name="edge", attributes={"butfor.edge": "true"})
    rows, _ = joined([edge, server("t", 10, 90, parent="edge")], [event(50), event(95)])
    assert rows == [(0, ref("t", "s"), "window", 0.8)]


TIMES = st.integers(-50, 250)


@st.composite
def spans_and_events(draw):
    spans = []
    for i in range(draw(st.integers(0, 8))):
        start, length = draw(TIMES), draw(st.integers(-5, 120))
        parent = draw(st.sampled_from(["", *[f"n{k}" for k in range(i)]]))
        end = None if length == 100 else start + length
        spans.append(
            on_thread(draw(st.sampled_from("tuv")), f"n{i}", start, end, draw(st.sampled_from("12")), parent=parent)
        )
    events = []
    for _ in range(draw(st.integers(0, 12))):
        named = draw(st.booleans())
        events.append(event(
            draw(TIMES), trace=draw(st.sampled_from("tuvw")) if named else "", name=f"n{draw(st.integers(0, 9))}",
            tid=draw(st.sampled_from([100, 101, 102])), join=draw(st.sampled_from(["thread", "socket"])) if named else "none",
            miss="" if named else draw(st.sampled_from(["null", "fault", "no_slot"])),
        ))  # fmt: skip
    return spans, events


@settings(max_examples=100, deadline=None)
@given(spans_and_events())
def test_no_event_is_joined_to_a_span_that_was_not_open(drawn):
    spans, events = drawn
    rows, found = joined(spans, events)
    by_id = {}
    for one in found.spans.to_pylist():
        by_id[f"{one['trace_id']}/{one['span_id']}"] = one
    threads = {}
    for number, name, source, confidence in rows:
        if source == "thread" and confidence == 1:
            threads.setdefault(events[number]["tid"], set()).add(dict(by_id[name]["attributes"])["thread.id"])
    shares = {}
    for number, name, source, confidence in rows:
        one, time = by_id[name], events[number]["time_ns"]
        shares.setdefault((number, source), []).append(confidence)
        if confidence == 1 or source in ("timeline", "connection", "window"):
            slack = 10 * MS if source == "thread" else 0
            assert one["start_ns"] - slack <= time
            assert one["end_ns"] is None or time <= one["end_ns"] + slack
        if source == "timeline":
            assert threads[events[number]["tid"]] == {dict(one["attributes"])["thread.id"]}
    assert all(sum(share) <= 1.001 for share in shares.values())
    assert len({number for number, _ in shares}) == len(shares)
    join = found.join
    assert join.exact + join.inferred + join.unattributed + join.outside == len(events)
    assert len(shares) == join.exact + join.inferred


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(1, 15)), max_size=12),
    st.lists(st.tuples(st.integers(-1, 3), st.integers(-5, 60)), min_size=1, max_size=10),
    st.sampled_from([1, 10**17]),
)
def test_pieces_hold_what_is_open(intervals, asked, far):
    group = np.array([g for g, _, _ in intervals], np.int64)
    start = np.array([s * far for _, s, _ in intervals], np.int64)
    end = start + np.array([n * far for _, _, n in intervals], np.int64)
    found = pieces(group, start, end)
    of, time = np.array([g for g, _ in asked], np.int64), np.array([t * far for _, t in asked], np.int64)
    piece = found.at(of, time)
    known = np.flatnonzero(piece >= 0)
    at, interval = members(piece[known], found, group, start, end, 100)
    seen = [set() for _ in asked]
    for i, one in zip(known[at].tolist(), interval.tolist(), strict=True):
        seen[i].add(one)
    for i, (g, t) in enumerate(asked):
        assert seen[i] == {k for k in range(len(intervals)) if group[k] == g and start[k] <= t * far < end[k]}


@pytest.mark.parametrize("step", [1, 2**61])
def test_the_last_start_of_a_group_is_found_however_far_apart_moments_are(step):
    starts = Starts(np.array([0, 0, 2, 2]), np.array([0, step, 0, step]))
    asked = np.array([0, 0, 1, 2, 2, 3, -1]), np.array([-1, step + 1, 5, 0, step - 1, 9, 9])
    assert starts.last(*asked).tolist() == [-1, 1, -1, 2, 2, -1, -1]


def test_times_are_those_of_the_spans():
    assert event(5)["time_ns"] == BASE + 5 * MS
