"""The kernel's lane beneath a trace, its line in the terminal, and what of paths is shown."""

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

sys.path.insert(0, str(Path(__file__).parents[1] / "correlating"))
from kernel_events import event, watched
from telemetries import raised, server, span, telemetry

from butfor.correlating import correlate
from butfor.evidence import names
from butfor.evidence.graphs import CausalGraph, Divergence, Shape, Slice
from butfor.evidence.kernels import JoinSummary
from butfor.evidence.predicates import FailurePredicate, KernelFailure
from butfor.evidence.suspects import Ranking
from butfor.evidence.telemetry import EVIDENCE
from butfor.evidence.verdicts import Verdict
from butfor.reporting import Material
from butfor.reporting.lanes import MAX_LINES
from butfor.reporting.pages import page
from butfor.reporting.terminal import summary
from butfor.reporting.waterfalls import waterfalls

SPANS = [server("bad", 0, 100, 500), span("bad", "work", 10, 90, "s"), server("fine", 1000, 1100)]


def drawn(events, spans=SPANS):
    timelines = correlate(watched(telemetry(spans), events))
    return timelines, waterfalls(timelines, Slice())


def refused(at, **more):
    return event(at, trace="bad", name="work", remote="127.0.0.1:9", family="inet", duration_ns=30_000, **more)


def test_a_failing_call_stands_where_it_happened_with_how_long_it_took():
    _, (failing, healthy) = drawn([refused(50)])
    (line,) = failing.kernel.lines
    assert (line.text, line.service, line.failure, line.surely) == (
        "connect ECONNREFUSED 127.0.0.1:9",
        "shop",
        True,
        "",
    )
    assert (round(line.at_ms, 2), round(line.took_ms, 2)) == (49.97, 0.03)
    assert line.rects[0][0] == pytest.approx(499.7)
    assert healthy.kernel.lines == []


def test_the_same_again_and_again_is_one_line():
    _, (failing, _) = drawn([refused(20 + i) for i in range(30)])
    (line,) = failing.kernel.lines
    assert (line.times, len(line.rects)) == (30, 30)


def test_failures_are_kept_before_waits_and_what_is_left_out_is_counted():
    waits = [
        event(30 + 3 * i, "off_cpu", "bad", "work", call="futex", errno="", failure=False, argument_0=3,
              duration_ns=11_000_000 + i) for i in range(10)
    ]  # fmt: skip
    others = [refused(31 + 3 * i, errno=f"E{i}") for i in range(MAX_LINES)]
    _, (failing, _) = drawn([*waits, *others])
    assert {line.failure for line in failing.kernel.lines} == {True}
    assert len(failing.kernel.lines) == MAX_LINES
    assert failing.kernel.left_out == 10


def test_what_is_not_exact_says_how_sure_it_is():
    _, (failing, _) = drawn([event(50)])
    (line,) = failing.kernel.lines
    assert line.surely == "80% by the open requests"


def test_the_page_draws_the_lane():
    timelines, _ = drawn([refused(50), refused(60, errno="<b>")])
    material = Material(timelines, Shape(), CausalGraph(), Slice(), Ranking(), "", b"")
    text = page(Verdict(outcome="Inconclusive", predicate=timelines.predicate, join=timelines.join), material)
    assert "what the kernel saw" in text
    assert "connect ECONNREFUSED 127.0.0.1:9" in text
    assert "kernel events: 2 joined exactly" in text
    assert "<b>" not in text


def printed(**more):
    console = Console(width=200, record=True, file=io.StringIO())
    summary(Verdict(outcome="Inconclusive", **more), Path("out"), console)
    return [line for line in console.export_text().splitlines() if line.startswith("  kernel")]


def test_the_terminal_has_one_line_and_none_without_the_kernel():
    join = JoinSummary(exact=5, inferred=1, unattributed=2, outside=3)
    assert printed() == []
    counts = "kernel events: 5 joined exactly, 1 by inference, 2 not, 3 outside any request"
    assert [" ".join(line.split()) for line in printed(join=join)] == [f"kernel {counts}"]
    known = FailurePredicate(
        service="shop",
        method="GET",
        route="/",
        kernel=[KernelFailure(kind="signal", errno="SIGSEGV", target_type="process")],
    )
    assert "signal SIGSEGV; kernel events" in printed(join=join, predicate=known)[0]
    told = Divergence(
        node="kernel:1", detail="d", kind="kernel", subject="openat EMFILE", healthy_traces=3, share_of_healthy=0
    )
    assert "openat EMFILE; kernel events" in printed(join=join, divergence=[told])[0]


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/nowhere", "/nowhere"),
        ("/srv/data/customers/ada.db", "/srv/data/<*>.db"),
        ("/srv/data/ada", "/srv/data/<*>"),
        ("/home/ada@example.org/x", "/home/<*>/<*>"),
        ("", "/"),
    ],
)
def test_of_a_path_only_what_tells_no_customer_is_shown(path, shown):
    assert names.path(path) == shown
    assert names.path(shown) == shown


def test_what_capture_tells_of_a_span_stands_with_it():
    seen = raised("ValueError", "no", [("app.py", 3, "pay")], 55)
    told = span("bad", EVIDENCE, 50, 60, "work", kind="INTERNAL", events=[seen])
    (failing, _) = waterfalls(correlate(telemetry([*SPANS, told])), Slice())
    assert [bar.name for bar in failing.bars] == [bar.name for bar in drawn([])[1][0].bars]
    assert [len(bar.exceptions) for bar in failing.bars] == [0, 1]
    assert failing.left_out == 0


def test_the_healthy_request_beside_is_a_usual_one_of_the_route():
    spans = [server("bad", 0, 100, 500)]
    spans += [server(name, at, at + took) for name, at, took in [("cold", 1000, 900), ("a", 2000, 20), ("b", 3000, 25)]]
    spans += [server("other", 4000, 4020, path="/else")]
    timelines = correlate(telemetry(spans))
    _, healthy = waterfalls(timelines, Slice())
    assert healthy.milliseconds == 25
