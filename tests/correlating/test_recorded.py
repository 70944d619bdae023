"""A small bundle that was recorded live with the kernel beside: what it says is joined as it happened.

The service answers `/`, asks a port where nobody listens and swallows that (`/refused`), looks for a file that is not
there (`/missing`) and sleeps (`/slow`). Its first two events are of a probe whose span is not in the bundle.
"""

from pathlib import Path

from butfor.correlating import correlate
from butfor.evidence.happenings import happenings
from butfor.ingesting import open_bundle, read

RECORDED = Path(__file__).parent / "recorded"


def seen():
    timelines = correlate(read(open_bundle(RECORDED)))
    spans = {f"{row['trace_id']}/{row['span_id']}" for row in timelines.spans.to_pylist()}
    found = happenings(timelines, spans)
    return timelines, {request.target: found.get(request.span, []) for request in timelines.requests}


def test_every_failing_call_is_in_the_request_that_made_it():
    timelines, by_target = seen()
    exact = {
        target: [one.said() for one in several if one.failure and one.exact] for target, several in by_target.items()
    }
    assert exact == {
        "/": [], "/slow": [], "/refused": ["connect ECONNREFUSED 127.0.0.1:9"],
        "/missing": ["openat ENOENT /nowhere/customers/<*>"],
    }  # fmt: skip
    assert [(one.kind, one.evidence) for one in timelines.findings] == [
        ("uncaptured_request", ["kernel:0", "kernel:1"])
    ]


def test_what_happened_behind_the_threads_back_goes_by_its_socket():
    _, by_target = seen()
    behind = [one for one in by_target["/refused"] if one.source == "socket" and one.failure]
    assert {one.said() for one in behind} == {
        "connection reset by 127.0.0.1:9", "cannot open a connection to 127.0.0.1:9",
    }  # fmt: skip
    assert all(one.confidence < 1 for one in behind)


def test_a_request_that_sleeps_says_so():
    _, by_target = seen()
    assert [(one.said(), one.seconds > 0.2) for one in by_target["/slow"] if one.kind == "off_cpu"] == [
        ("waits for a timer", True)
    ]


def test_its_events_add_up():
    timelines, _ = seen()
    join = timelines.join
    assert join.exact + join.inferred + join.unattributed + join.outside == timelines.telemetry.kernel.num_rows
    assert (join.exact, join.unattributed) == (4, 0)
