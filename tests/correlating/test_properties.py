"""What holds for any capture, however odd."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from telemetries import ROOT, log, payload, raised, server, span, telemetry

from butfor.correlating import correlate
from butfor.correlating.predicates import matches
from butfor.evidence.incidents import Symptom

kinds = st.sampled_from(["KeyError", "shop.errors.Broken", "BrokenPipeError"])
places = [(f"{ROOT}/a.py", 1, "f"), (f"{ROOT}/b.py", 2, "g"), ("/usr/lib/python3.11/x.py", 3, "h")]
frames = st.lists(st.sampled_from(places), max_size=3)
messages = st.sampled_from(["'a'", "row 3", ""])
exceptions = st.builds(lambda k, m, f, t: raised(k, m, f, at=t), kinds, messages, frames, st.integers(0, 9))
ends = st.sampled_from([None, "timeout", "closed", "no answer"])


@st.composite
def requests(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[Any], list[dict[str, Any]]]:
    spans, payloads, logs = [], [], []
    for i in range(draw(st.integers(0, 7))):
        status = draw(st.sampled_from([200, 204, 404, 500, 503, None]))
        start, length = draw(st.integers(0, 50)), draw(st.sampled_from([None, -3, 0, 5, 7, 4000]))
        end = None if length is None else start + length
        events = draw(st.lists(exceptions, max_size=2))
        path = draw(st.sampled_from(["/a", "/a/7", "/b?x=1"]))
        trace = f"t{draw(st.integers(0, 4))}" if draw(st.booleans()) else f"u{i}"
        service = draw(st.sampled_from(["shop", "pay"]))
        parent = draw(st.sampled_from(["", "s0", "s1", "call0", "nobody"]))
        more = {"name": f"s{i}", "path": path, "events": events, "service": service, "parent": parent}
        spans.append(server(trace, start, end, status, **more))
        if draw(st.booleans()):
            spans.append(span(trace, f"call{i}", start, end, f"s{i}", kind="CLIENT", service=service))
        if draw(st.booleans()):
            ended = draw(ends)
            payloads.append(payload(trace, start, end, f"s{i}", status=status, ended=ended, complete=ended is None))
        if draw(st.booleans()):
            logs.append(log(trace, f"s{i}", start, {"exception.type": draw(kinds)}))
    return spans, payloads, logs


symptoms = st.none() | st.builds(
    Symptom,
    service=st.sampled_from([None, "shop"]), route=st.sampled_from([None, "/a"]),
    status=st.sampled_from([None, 200, 404, 500, "timeout", "closed", "no answer"]),
    exception=st.sampled_from([None, "KeyError"]), latency_over_ms=st.sampled_from([None, 1000.0]),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(requests(), symptoms, st.randoms(use_true_random=False))
def test_any_capture_is_explained_or_refused_with_a_reason(drawn: Any, symptom: Symptom | None, shuffler: Any) -> None:
    spans, payloads, logs = drawn
    found = correlate(telemetry(spans, logs, payloads), symptom)
    assert not set(found.failing) & set(found.healthy)
    assert all(found.requests[i].failed and found.requests[i].why for i in found.failing)
    assert not any(found.requests[i].failed for i in found.healthy)
    assert found.predicate is not None or found.reasons
    if found.predicate is not None:
        assert found.failing
        assert not any(matches(found.predicate, found.requests[i]) for i in found.healthy)
        known = {f"{row['trace_id']}/{row['span_id']}" for row in found.spans.to_pylist()}
        assert set(found.predicate.evidence) <= known
        assert matches(found.predicate, found.requests[found.failing[0]])
    shuffler.shuffle(spans)
    shuffler.shuffle(logs)
    again = correlate(telemetry(spans, logs, payloads), symptom)
    assert (again.predicate, again.failing, again.requests) == (found.predicate, found.failing, found.requests)
