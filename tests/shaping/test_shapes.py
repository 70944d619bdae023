from __future__ import annotations

import random
import time
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from handmade_timelines import MS, Story, exception_event, frame, raised
from hypothesis import given, settings
from hypothesis import strategies as st

from butfor.evidence.graphs import Shape, ShapedEdge, ShapedNode
from butfor.evidence.timelines import StackSample
from butfor.shaping import canonical_bytes, caps, criticals, durations, operations, patterns, shape, stacks


def node(made: Shape, name: str) -> ShapedNode:
    return next(n for n in made.nodes if n.name == name)


def edge(made: Shape, target: str) -> ShapedEdge:
    return next(e for e in made.edges if e.target.endswith(target))


def checkout() -> Story:
    story = Story()
    for number, failed in ((1, True), (2, False)):
        root = story.span(number, 1, 0, "POST /buy", kind="SERVER", ms=100, status="ERROR" if failed else "UNSET",
                          http__request__method="POST", http__route="/buy")  # fmt: skip
        story.span(number, 2, 1, "check 17", start=5, ms=20)
        event = [exception_event("httpx.ReadTimeout")] if failed else []
        story.span(number, 3, 1, "POST", kind="CLIENT", start=30, ms=60, status="ERROR" if failed else "UNSET",
                   events=event, http__request__method="POST",
                   url__full=f"http://pay:80/charge/{number}?x=1")  # fmt: skip
        story.request(root, failed=failed, method="POST", ms=100)
    return story


def test_names_lose_their_variable_parts_and_keep_the_route():
    made = shape(checkout().timelines())
    assert {n.name for n in made.nodes} == {"POST /buy", "check <*>", "POST /charge/<*>"}
    assert all(n.count == 2 for n in made.nodes)


def test_a_failed_call_carries_its_family_and_lies_on_the_failure_path():
    made = shape(checkout().timelines())
    call = node(made, "POST /charge/<*>")
    assert (call.errors, call.exception_family, call.on_failure_path) == (1, "timeout.read", True)
    assert node(made, "POST /buy").on_failure_path
    assert not node(made, "check <*>").on_failure_path


def test_evidence_of_the_failure_path_cites_the_failing_trace_first():
    made = shape(checkout().timelines())
    assert node(made, "POST /charge/<*>").evidence[0] == f"{1:032x}/{3:016x}"


def test_critical_path_of_the_failing_request_sums_to_its_duration():
    made = shape(checkout().timelines())
    assert node(made, "POST /charge/<*>").critical_s == pytest.approx(0.06)
    assert sum(n.critical_s for n in made.nodes) == pytest.approx(0.1)


def test_a_slow_request_without_errors_has_its_critical_path_as_failure_path():
    story = Story()
    root = story.span(1, 1, 0, "GET /", kind="SERVER", ms=100)
    story.span(1, 2, 1, "long", start=0, ms=90)
    story.span(1, 3, 1, "beside", start=10, ms=5)
    story.request(root, failed=True, status=200)
    made = shape(story.timelines())
    assert {n.name for n in made.nodes if n.on_failure_path} == {"GET /", "long"}


def test_retry_is_the_same_call_again_after_a_failure():
    story = Story()
    story.span(1, 1, 0, "GET /", kind="SERVER", ms=100)
    for turn in range(3):
        story.span(1, 2 + turn, 1, "call", kind="CLIENT", start=turn * 20, ms=10, status="ERROR" if turn < 2 else "OK")
    assert edge(shape(story.timelines()), "call").pattern == "retry"


def test_a_failed_call_and_a_different_one_are_no_retry():
    story = Story()
    story.span(1, 1, 0, "GET /", kind="SERVER", ms=100)
    for turn in range(2):
        story.span(1, 2 + turn, 1, "q", kind="CLIENT", start=turn * 20, status="ERROR", db__statement=f"select {turn}")
    assert edge(shape(story.timelines()), "select <*>").pattern == "call"


@pytest.mark.parametrize(
    ("count", "gap", "pattern"),
    [
        pytest.param(5, 20, "n_plus_one", id="many"),
        pytest.param(4, 20, "call", id="few"),
        pytest.param(8, 0, "call", id="parallel"),
    ],
)
def test_n_plus_one_is_many_statements_one_after_the_other(count, gap, pattern):
    story = Story()
    story.span(1, 1, 0, "GET /", kind="SERVER", ms=1000)
    for turn in range(count):
        story.span(
            1, 2 + turn, 1, "q", kind="CLIENT", start=turn * gap, db__query__text=f"select * from a where id={turn}"
        )
    assert edge(shape(story.timelines()), "id=<*>").pattern == pattern


def test_cycles_and_missing_parents_are_roots_and_do_not_hang():
    story = Story()
    story.span(1, 1, 2, "a")
    story.span(1, 2, 1, "b")
    story.span(1, 3, 3, "self")
    story.span(1, 4, 99, "orphan")
    made = shape(story.timelines())
    assert {n.name for n in made.nodes} == {"a", "b", "self", "orphan"}
    assert len(made.edges) == 1


def test_nothing_has_an_empty_shape():
    assert shape(Story().timelines()) == Shape()


def test_an_unfinished_span_ends_with_its_trace_and_counts_as_error():
    story = Story()
    root = story.span(1, 1, 0, "GET /", kind="SERVER", ms=None)
    story.span(1, 2, 1, "work", start=10, ms=30)
    story.request(root, failed=True, ended="closed")
    made = shape(story.timelines())
    assert node(made, "GET /").errors == 1
    assert node(made, "GET /").duration_buckets == {}
    assert sum(n.critical_s for n in made.nodes) == pytest.approx(0.04)


def test_folded_stacks_count_samples_and_exceptions():
    story = Story()
    root = story.span(1, 1)
    frames = [frame("app.py", 1, "main"), frame("app.py", 9, "loop;x")]
    story.request(root, failed=True, samples=[StackSample(span=root, frames=frames, count=7)],
                  exceptions=[raised(root, "KeyError", frames=frames)])  # fmt: skip
    assert shape(story.timelines()).folded_stacks == {
        "main (app.py);loop,x (app.py)": 7,
        "main (app.py);loop,x (app.py);[KeyError]": 1,
    }


def test_folded_stacks_are_bounded_and_keep_the_sum():
    story = Story()
    root = story.span(1, 1)
    samples = [StackSample(span=root, frames=[frame("a.py", 1, f"f{i}")], count=1 + i % 3) for i in range(600)]
    request = story.request(root, failed=True, samples=samples)
    folded = stacks.fold([request])
    assert len(folded) == stacks.LIMIT
    assert sum(folded.values()) == sum(s.count for s in samples)


def test_caps_keep_the_failure_path_and_say_what_was_dropped():
    story = Story()
    root = story.span(1, 1, 0, "GET /", kind="SERVER", ms=1000)
    for number in range(700):
        word = "".join(chr(97 + int(d)) for d in f"{number:04d}")
        story.span(1, 10 + number, 1, f"step {word}", start=number, ms=1)
    story.span(1, 5, 1, "broken", start=999, ms=0.5, status="ERROR")
    story.request(root, failed=True)
    made = shape(story.timelines())
    assert (len(made.nodes), made.dropped_nodes) == (caps.NODES, 502)
    assert len(made.edges) + made.dropped_edges == 701
    assert node(made, "broken").on_failure_path
    assert node(made, "GET /").on_failure_path


def test_edges_are_capped_with_the_failure_path_first():
    nodes = [ShapedNode(id=f"n{i}", service="s", name="", kind="", count=1, errors=0, on_failure_path=i < 2)
             for i in range(40)]  # fmt: skip
    edges = [ShapedEdge(source=a.id, target=b.id, count=i) for i, a in enumerate(nodes) for b in nodes]
    kept, dropped = caps.cap_edges(edges, nodes)
    assert (len(kept), dropped) == (caps.EDGES, 1200)
    assert {("n0", "n1"), ("n1", "n0")} <= {(e.source, e.target) for e in kept}


@given(st.lists(st.integers(min_value=1, max_value=10**13), min_size=1, max_size=60))
def test_buckets_keep_the_count_and_any_quantile_within_the_accuracy(values):
    counted = durations.buckets(np.array(values, dtype=np.int64))
    assert sum(counted.values()) == len(values)
    for q in (0.01, 0.5, 1.0):
        exact = sorted(values)[max(int(np.ceil(q * len(values))) - 1, 0)] / 1e9
        assert durations.quantile(counted, q) == pytest.approx(exact, rel=durations.ACCURACY * 1.05)


def test_zero_durations_have_a_bucket_of_their_own():
    assert durations.buckets(np.array([0, 0, MS]))["0"] == 2
    assert durations.quantile({}, 0.5) is None


SPANS = st.lists(
    st.tuples(
        st.integers(1, 2), st.integers(1, 8), st.integers(0, 9), st.sampled_from(["a", "b 7", "GET /x/9"]),
        st.sampled_from(["SERVER", "CLIENT", "INTERNAL"]), st.integers(-5, 50),
        st.one_of(st.none(), st.integers(-5, 60)),
        st.sampled_from(["OK", "ERROR", "UNSET"]),
    ),
    max_size=25,
)  # fmt: skip


def any_story(rows, failing: int) -> Story:
    story = Story()
    for trace_no, number, parent, name, kind, start, ms, status in rows:
        story.span(trace_no, number, parent, name, kind=kind, start=start, ms=ms, status=status)
    for index, at in enumerate(dict.fromkeys(f"{t:032x}/{n:016x}" for t, n, *_ in rows)):
        if index < 4:
            story.request(at, failed=index < failing)
    return story


@settings(max_examples=60, deadline=None)
@given(SPANS, st.integers(0, 2), st.randoms(use_true_random=False))
def test_same_input_in_any_row_order_is_the_same_bytes(rows, failing, shuffler):
    timelines = any_story(rows, failing).timelines()
    order = list(range(timelines.spans.num_rows))
    shuffler.shuffle(order)
    requests = list(enumerate(timelines.requests))
    shuffler.shuffle(requests)
    new = {old: at for at, (old, _) in enumerate(requests)}
    mixed = replace(
        timelines,
        spans=timelines.spans.take(pa.array(order, pa.int64())),
        requests=[r for _, r in requests],
        failing=[new[i] for i in timelines.failing],
        healthy=[new[i] for i in timelines.healthy],
    )
    assert canonical_bytes(shape(mixed)) == canonical_bytes(shape(timelines))


@settings(max_examples=60, deadline=None)
@given(SPANS)
def test_the_critical_path_of_any_span_sums_to_its_duration_without_overlap(rows):
    spans = operations.read(any_story(rows, 0).timelines().spans)
    children = criticals.children_of(spans)
    for root in range(len(spans.ids)):
        pieces = sorted((low, high) for _, low, high in criticals.intervals(root, spans, children))
        assert sum(high - low for low, high in pieces) == spans.end[root] - spans.start[root]
        assert all(a[1] <= b[0] for a, b in pairwise(pieces))


@settings(max_examples=60, deadline=None)
@given(SPANS)
def test_every_span_is_counted_once_and_every_citation_exists(rows):
    timelines = any_story(rows, 1).timelines()
    made = shape(timelines)
    known = {f"{t:032x}/{n:016x}" for t, n, *_ in rows}
    assert sum(n.count for n in made.nodes) == len(known)
    assert {e for part in (*made.nodes, *made.edges) for e in part.evidence} <= known


def test_a_hundred_thousand_spans_take_a_few_seconds():
    rng = random.Random(3)
    rows = 100_000
    trace_no = [i // 50 for i in range(rows)]
    own = [i % 50 + 1 for i in range(rows)]
    table = pa.table({
        "trace_id": [f"{t:032x}" for t in trace_no], "span_id": [f"{n:016x}" for n in own],
        "parent_span_id": [f"{rng.randrange(1, n):016x}" if n > 1 else "" for n in own],
        "name": [f"step {rng.randrange(10**6)}" for _ in own], "kind": ["INTERNAL"] * rows, "service": ["s"] * rows,
        "scope": [""] * rows, "start_ns": [n * MS for n in own], "end_ns": [100 * MS - n for n in own],
        "status": ["ERROR" if i % 97 == 0 else "OK" for i in range(rows)], "status_message": [""] * rows,
        "attributes": [[("http.request.method", "GET"), ("url.path", f"/a/{i % 1000}")] for i in range(rows)],
        "resource": [[]] * rows, "events": [[]] * rows, "links": [[]] * rows,
    }, schema=Story().timelines().spans.schema)  # fmt: skip
    story = Story()
    for number in range(0, rows, 50):
        story.request(f"{number // 50:032x}/{1:016x}", failed=number % 1000 == 0)
    timelines = replace(story.timelines(), spans=table)
    before = time.process_time()
    made = shape(timelines)
    spent = time.process_time() - before
    print(f"100k spans: {spent:.2f} s")
    assert sum(n.count for n in made.nodes) == rows
    assert spent < 8


def test_patterns_count_every_call_once():
    spans = operations.read(checkout().timelines().spans)
    assert sum(c.count for c in patterns.calls(spans).values()) == 4
