"""What the kernel saw, in the graph: failures, limits, peers, ends and waits, each citing its event."""

import dataclasses
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "correlating"))
from kernel_events import event, watched
from telemetries import ROOT, raised, server, span, telemetry

from butfor.correlating import correlate
from butfor.evidence.kernels import STACKS
from butfor.graphing import graph
from butfor.shaping import shape
from butfor.slicing import slice_graph


def requests(healthy=4, **more):
    """`bad` fails, the others do not; each has a span `work` inside."""
    spans = [server("bad", 0, 100, 500, **more), span("bad", "work", 10, 90, "s")]
    for i in range(healthy):
        at = 1000 * (i + 1)
        spans += [server(f"h{i}", at, at + 100), span(f"h{i}", "work", at + 10, at + 90, "s")]
    return spans


def in_healthy(count=4, at=50, name="work", **more):
    return [event(1000 * (i + 1) + at, trace=f"h{i}", name=name, **more) for i in range(count)]


def drawn(events, spans=None):
    timelines = correlate(watched(telemetry(spans or requests()), events))
    made = graph(timelines, shape(timelines))
    return made, slice_graph(made)


def nodes(made, kind):
    return [one for one in made.nodes if one.kind == kind]


END = event(9000, kind="exec", errno="", failure=False)
"""The kernel was watched until after the last request."""


def test_a_failing_call_is_a_node_that_cites_its_event():
    made, _ = drawn([event(50, trace="bad", name="work", family="inet", remote="127.0.0.1:9"), END])
    (node,) = nodes(made, "kernel")
    assert node.label == "connect ECONNREFUSED 127.0.0.1:9"
    assert node.evidence[0] == "kernel:0"
    assert node.unusual == 1.0
    edge = next(e for e in made.edges if e.source == node.id)
    assert edge.target.startswith("span:")
    assert "kernel:0" in edge.evidence


def test_the_shape_of_calls_is_compared_with_healthy_requests():
    common = {"kind": "open", "call": "openat", "errno": "ENOENT", "path": "/etc/missing"}
    rare = {"kind": "open", "call": "openat", "errno": "EACCES", "path": "/etc/secret"}
    events = [event(40, trace="bad", name="work", **common), event(50, trace="bad", name="work", **rare)]
    made, _ = drawn([*events, *in_healthy(**common), END])
    assert {n.value: n.unusual for n in nodes(made, "kernel")} == {"ENOENT": 0.0, "EACCES": 1.0}
    told = [d for d in made.divergence if d.kind == "kernel"]
    assert [(d.subject, d.healthy_traces, d.share_of_healthy) for d in told] == [("openat EACCES /etc/secret", 4, 0.0)]
    assert told[0].evidence[0] == "kernel:1"


def test_the_order_of_divergences_is_that_of_time():
    made, _ = drawn([event(50, trace="bad", name="work"), END])
    assert [d.kind for d in made.divergence][:2] == ["kernel", "failed"]


def test_what_is_refused_after_the_exception_did_not_lead_to_it():
    told = requests(events=[raised("KeyError", "'x'", [(f"{ROOT}/shop/app.py", 3, "cart")], at=60)])
    lookup = {"kind": "open", "call": "openat", "errno": "ENOENT"}
    before = event(50, trace="bad", name="work", path="/data/x", **lookup)
    after = event(70, trace="bad", name="work", path="/lib/python311.zip", **lookup)
    made, cut = drawn([before, after, END], told)
    (node,) = nodes(made, "kernel")
    assert "/data/x" in node.label
    assert not any("zip" in step for path in cut.paths for step in path)


def test_healthy_requests_that_nobody_watched_tell_nothing():
    made, _ = drawn([event(50, trace="bad", name="work")])
    (node,) = nodes(made, "kernel")
    assert (node.unusual, node.facts["healthy_requests"]) == (0.5, 0)
    assert not [d for d in made.divergence if d.kind == "kernel"]


@pytest.mark.parametrize(
    ("more", "family"),
    [
        ({"kind": "open", "call": "openat", "errno": "EMFILE", "path": "/data/x"}, "exhausted.files"),
        ({"kind": "accept", "call": "accept4", "errno": "ENFILE"}, "exhausted.files"),
        ({"kind": "connect", "call": "connect", "errno": "EADDRNOTAVAIL"}, "exhausted.ports"),
        ({"kind": "other_call", "call": "bind", "errno": "EADDRINUSE"}, "conflict.address"),
        ({"kind": "write", "call": "write", "errno": "ENOSPC"}, "exhausted.disk"),
        ({"kind": "write", "call": "write", "errno": "EDQUOT"}, "exhausted.quota"),
        ({"kind": "other_call", "call": "mmap", "errno": "ENOMEM"}, "exhausted.memory"),
        ({"kind": "oom_kill", "call": "", "errno": "", "value": 9}, "exhausted.memory"),
        ({"kind": "signal", "call": "", "errno": "", "value": 25}, "exhausted.size"),
    ],
)
def test_a_limit_that_was_reached_is_a_resource_to_be_lifted(more, family):
    made, cut = drawn([event(50, trace="bad", name="work", **more), END])
    (node,) = nodes(made, "resource")
    assert node.id == f"resource:shop:{family}"
    assert node.exogenous
    (prediction,) = [p for p in cut.predictions if p.node == node.id]
    assert prediction.outcome == "Resource"
    assert prediction.intervention.startswith("lift ")
    assert "kernel:0" in prediction.evidence


def test_the_code_that_asked_leads_to_what_the_kernel_refused():
    made, _ = drawn([event(50, "open", "bad", "work", call="openat", errno="EACCES", path="/etc/secret"), END])
    (node,) = nodes(made, "kernel")
    (edge,) = [e for e in made.edges if e.target == node.id]
    assert (edge.source, edge.evidence[0]) == ("code_change:shop", "kernel:0")


def test_a_peer_that_no_span_tells_of_is_a_downstream():
    refused = event(
        50, kind="so_error", call="getsockopt", trace="bad", name="work", family="inet", remote="10.0.0.9:80"
    )
    made, cut = drawn([refused, END])
    (node,) = nodes(made, "downstream")
    assert (node.label, node.exogenous) == ("10.0.0.9:80: connect", True)
    assert (node.value or "").startswith("refused after")
    assert node.id in cut.nodes


def test_a_peer_that_a_client_span_tells_of_is_not_told_twice():
    at = {"server.address": "10.0.0.9", "server.port": "80"}
    spans = [*requests(), span("bad", "call", 20, 80, "work", kind="CLIENT", status="ERROR", attributes=at)]
    made, _ = drawn([event(50, trace="bad", name="call", family="inet", remote="10.0.0.9:80"), END], spans)
    assert len(nodes(made, "downstream")) == 1


def test_a_worker_that_a_signal_ends_is_told_by_its_name():
    dies = event(60, kind="signal", call="", errno="", value=11, trace="bad", name="work")
    spans = [server("bad", 0, None, None), span("bad", "work", 10, None, "s"), *requests()[2:]]
    made, _ = drawn(
        [dies, event(61, kind="exit", call="", errno="", value=11 | 0x80, trace="bad", name="work"), END], spans
    )
    assert sorted(n.label for n in nodes(made, "kernel")) == ["ends by SIGSEGV", "exits with SIGSEGV"]
    assert [d.kind for d in made.divergence][:1] == ["kernel"]


def test_the_native_code_that_a_signal_ended_is_named():
    dies = event(60, kind="signal", call="", errno="", value=11, trace="bad", name="work", user_stack=4)
    frames = [{"module": file, "offset": 1} for file in ("/lib/libc.so.6", "/srv/codec.so", "", "/usr/bin/python3.11")]
    stacks = pa.Table.from_pylist([{"pid": 100, "stack": 4, "frames": frames}], STACKS)
    told = dataclasses.replace(watched(telemetry(requests()), [dies, END]), stacks=stacks)
    timelines = correlate(told)
    (node,) = nodes(graph(timelines, shape(timelines)), "kernel")
    assert node.label == "ends by SIGSEGV in codec.so"
    assert node.facts["targets"] == ["/srv/codec.so", "/usr/bin/python3.11"]


def test_the_function_that_a_signal_ended_is_named_where_it_has_a_name():
    dies = event(60, kind="signal", call="", errno="", value=11, trace="bad", name="work", user_stack=4)
    frames = [
        {"module": "/lib/libc.so.6", "offset": 1, "function": "memcpy"},
        {"module": "/srv/codec.so", "offset": 1, "function": "unpack"},
        {"module": "/srv/codec.so", "offset": 9, "function": "decode"},
        {"module": "/usr/bin/python3.11", "offset": 1, "function": "_PyEval"},
    ]
    stacks = pa.Table.from_pylist([{"pid": 100, "stack": 4, "frames": frames}], STACKS)
    timelines = correlate(dataclasses.replace(watched(telemetry(requests()), [dies, END]), stacks=stacks))
    (node,) = nodes(graph(timelines, shape(timelines)), "kernel")
    assert node.label == "ends by SIGSEGV in unpack of codec.so"
    assert node.facts["targets"] == ["unpack", "decode", "/srv/codec.so", "/usr/bin/python3.11"]


def test_an_exception_that_says_the_same_is_an_effect_of_the_call():
    from telemetries import raised

    events = [raised("ConnectionRefusedError", "[Errno 111] Connection refused", [("app.py", 3, "pay")], 55)]
    made, _ = drawn(
        [event(50, trace="bad", name="s", family="inet", remote="10.0.0.9:80"), END], requests(events=events)
    )
    (node,) = nodes(made, "kernel")
    assert [e.target for e in made.edges if e.source == node.id and e.target.startswith("exception:")]


def waiting(at, trace, ms, reason=3, call="futex"):
    return event(at, kind="off_cpu", call=call, errno="", failure=False, trace=trace, name="work",
                 duration_ns=int(ms * 1e6), argument_0=reason)  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "call", "what"),
    [(3, "futex", "a lock"), (2, "write", "a disk"), (1, "", "the CPU"), (3, "recvfrom", "a peer or a file")],
)
def test_a_wait_beyond_every_healthy_one_is_told_with_its_reason(reason, call, what):
    events = [waiting(80, "bad", 60, reason, call)]
    events += [waiting(1000 * (i + 1) + 30, f"h{i}", 12, reason, call) for i in range(4)]
    made, _ = drawn([*events, END])
    (node,) = nodes(made, "kernel")
    assert (node.label, node.value, node.healthy_value) == (f"waits for {what}", "0.060 s", "at most 0.012 s")
    spans = [n for n in nodes(made, "span") if n.facts.get("waits_s")]
    assert [n.facts["waits_s"] for n in spans] == [{what: 0.06}]


def test_a_wait_as_in_healthy_requests_only_annotates():
    made, _ = drawn([waiting(80, "bad", 30), *(waiting(1000 * (i + 1) + 80, f"h{i}", 28) for i in range(4)), END])
    assert nodes(made, "kernel") == []


def test_without_the_kernel_nothing_of_it_is_left():
    timelines = correlate(watched(telemetry(requests()), [event(50, trace="bad", name="work"), END]).unwatched())
    made = graph(timelines, shape(timelines))
    plain = correlate(telemetry(requests()))
    assert made == graph(plain, shape(plain))


KINDS = ("connect", "open", "signal", "exit", "oom_kill", "off_cpu", "abandon", "reset_received", "tcp_state", "?")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(
    st.integers(-100, 6000), st.sampled_from(KINDS), st.sampled_from(["", "EMFILE", "EWHAT", "99"]),
    st.sampled_from(["bad", "h0", "h3", "nowhere"]), st.sampled_from(["s", "work", "lost"]), st.booleans(),
    st.integers(-(2**40), 2**40),
), max_size=12))  # fmt: skip
def test_every_edge_cites_what_exists(drawn_events):
    events = [
        event(at, kind=kind, errno=errno, trace=trace, name=name, failure=failure, value=value, duration_ns=value)
        for at, kind, errno, trace, name, failure, value in drawn_events
    ]
    made, _ = drawn(events)
    for edge in made.edges:
        assert edge.evidence
        for cited in edge.evidence:
            assert not cited.startswith("kernel:") or int(cited[7:]) < len(events)
