"""Order, depth, findings and segments, against plain slow definitions of them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from telemetries import BASE, MS, hexed, span, telemetry

from butfor.correlating.orders import MAX_FINDINGS, order
from butfor.correlating.segments import segments


def kinds(spans: list[dict[str, Any]]) -> list[str]:
    return [finding.kind for finding in order(telemetry(spans).spans).findings]


def test_orders_that_cannot_be_are_findings_with_their_evidence() -> None:
    spans = [
        span("a", "root", 10, 20),
        span("a", "early", 5, 8, "root"),
        span("a", "late", 30, 31, "root"),
        span("a", "back", 15, 12, "root"),
        span("a", "orphan", 1, 2, "nobody"),
        span("a", "open", 11, None, "root"),
        span("a", "self", 1, 2, "self"),
    ]
    found = {finding.kind: finding for finding in order(telemetry(spans).spans).findings}
    assert set(found) == {
        "child_before_parent", "child_after_parent", "negative_duration", "missing_parent", "unfinished", "cycle",
    }  # fmt: skip
    trace = hexed("a", 32)
    assert found["child_before_parent"].evidence == [f"{trace}/{hexed('early', 16)}", f"{trace}/{hexed('root', 16)}"]
    assert found["missing_parent"].evidence[1] == f"{trace}/{hexed('nobody', 16)}"


def test_a_clients_own_traceparent_is_a_remote_parent_and_no_finding() -> None:
    spans = [
        span("a", "one", 1, 2, "client", kind="SERVER"),
        span("a", "two", 3, 4, "client", kind="SERVER"),
        span("a", "in", 3, 4, "two"),
        span("b", "call", 1, 2, "client", kind="CLIENT"),
        span("c", "first", 1, 9, "client", kind="SERVER"),
        span("c", "sent-by-first", 2, 3, "lost", kind="SERVER", service="other"),
    ]
    found = order(telemetry(spans).spans)
    assert [f.evidence[0] for f in found.findings] == [
        f"{hexed('b', 32)}/{hexed('call', 16)}", f"{hexed('c', 32)}/{hexed('sent-by-first', 16)}",
    ]  # fmt: skip
    remote = {
        i
        for i, is_remote in zip(
            found.table["span_id"].to_pylist(), found.table["remote_parent"].to_pylist(), strict=True
        )
        if is_remote
    }
    assert remote == {hexed("one", 16), hexed("two", 16), hexed("first", 16)}


def test_a_short_call_outside_its_caller_in_another_service_is_clock_skew() -> None:
    spans = [span("a", "call", 10, 20, kind="CLIENT"), span("a", "serve", 2, 6, "call", service="other")]
    assert kinds(spans) == ["clock_skew"]
    spans[1] |= {"service": "shop"}
    assert kinds(spans) == ["child_before_parent"]


def test_a_span_seen_twice_is_one_and_a_begun_one_is_no_duplicate() -> None:
    twice = [span("a", "s", 1, 5), span("a", "s", 1, 5)]
    found = order(telemetry(twice).spans)
    assert (found.table.num_rows, [f.kind for f in found.findings]) == (1, ["duplicate_span"])
    begun = order(telemetry([span("a", "s", 1, None), span("a", "s", 1, 5)]).spans)
    assert (begun.table["end_ns"].to_pylist(), begun.findings) == ([BASE + 5 * MS], [])


def test_the_same_span_id_in_another_trace_is_another_span() -> None:
    assert order(telemetry([span("a", "s", 1, 5), span("b", "s", 1, 5)]).spans).table.num_rows == 2


def test_many_findings_of_a_kind_are_counted_not_listed() -> None:
    found = order(telemetry([span("a", f"s{i}", 1, 2, "nobody") for i in range(MAX_FINDINGS + 5)]).spans).findings
    assert len(found) == MAX_FINDINGS + 1
    assert "5 more" in found[-1].detail


def test_a_long_cycle_and_a_deep_chain_end() -> None:
    size = 5000
    ring = [span("a", f"r{i}", i, i + 1, f"r{(i + 1) % size}") for i in range(size)]
    chain = [span("b", f"c{i}", i, i + 1, f"c{i - 1}" if i else "") for i in range(size)]
    found = order(telemetry(ring + chain).spans)
    assert [f.kind for f in found.findings if f.kind == "cycle"] == ["cycle"]
    assert max(found.depth) == size - 1


pieces = st.lists(
    st.tuples(st.integers(0, 12), st.integers(-2, 12), st.integers(-1, 8), st.integers(0, 2)), min_size=1, max_size=9
)


def built(drawn: list[tuple[int, int, int, int]]) -> list[dict[str, Any]]:
    return [
        span(f"t{trace % 2}", f"s{i}", start, start + length, "" if parent < 0 else f"s{parent}",
             attributes={"thread.id": str(trace)})
        for i, (start, length, parent, trace) in enumerate(drawn)
    ]  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(pieces)
def test_depth_counts_the_steps_to_a_root(drawn: list[tuple[int, int, int, int]]) -> None:
    found = order(telemetry(built(drawn)).spans)
    for row in range(found.table.num_rows):
        steps, at = 0, row
        while found.parent[at] >= 0:
            at, steps = int(found.parent[at]), steps + 1
            assert steps <= found.table.num_rows
        assert found.depth[row] == steps
        above = int(found.parent[row])
        if above >= 0:
            assert found.table["span_id"][above].as_py() == found.table["parent_span_id"][row].as_py()
    starts = list(zip(found.table["trace_id"].to_pylist(), found.table["start_ns"].to_pylist(), strict=True))
    for (trace, start), (after, later) in pairwise(starts):
        assert trace != after or start <= later


@settings(max_examples=150, deadline=None)
@given(pieces)
def test_at_every_moment_the_segment_is_the_span_that_began_last(drawn: list[tuple[int, int, int, int]]) -> None:
    found = order(telemetry(built(drawn)).spans)
    cut = segments(found).to_pylist()
    threads = {one["thread"] for one in cut}
    for one, after in pairwise(cut):
        assert one["thread"] != after["thread"] or one["end_ns"] <= after["start_ns"]
    rows = [row for row in found.table.to_pylist() if row["end_ns"] > row["start_ns"]]
    for moment in range(BASE - MS, BASE + 26 * MS, MS):
        for thread in threads | {"none"}:
            own = [r for r in rows if thread.endswith(f"/{dict(r['attributes'])['thread.id']}/")]
            active = [r for r in own if r["start_ns"] <= moment < r["end_ns"]]
            here = [s for s in cut if s["thread"] == thread and s["start_ns"] <= moment < s["end_ns"]]
            assert len(here) == bool(active)
            if active:
                last = max(r["start_ns"] for r in active)
                best = {(r["trace_id"], r["span_id"]) for r in active if r["start_ns"] == last}
                assert (here[0]["trace_id"], here[0]["span_id"]) in best


def test_a_child_that_began_with_its_parent_is_inside_it() -> None:
    found = segments(order(telemetry([span("a", "root", 0, 10), span("a", "child", 0, 4, "root")]).spans))
    names = [(hexed("child", 16), 0, 4), (hexed("root", 16), 4, 10)]
    got = [(r["span_id"], (r["start_ns"] - BASE) // MS, (r["end_ns"] - BASE) // MS) for r in found.to_pylist()]
    assert got == names
