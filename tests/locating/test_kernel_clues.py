"""What the kernel saw, as words that code may contain: what a call was about, never how a person is told of it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "correlating"))
from kernel_events import event, watched
from telemetries import server, telemetry

from butfor.correlating import correlate
from butfor.graphing import graph
from butfor.locating.clues import gather
from butfor.locating.reaching import Reach
from butfor.shaping import shape
from butfor.slicing import slice_graph


def clues(*events):
    spans = [server("bad", 0, 100, 500), *(server(f"h{i}", 1000 * i, 1000 * i + 90) for i in range(1, 5))]
    timelines = correlate(watched(telemetry(spans), [*events, event(9000, "exec", errno="", failure=False)]))
    made = graph(timelines, shape(timelines))
    cut = slice_graph(made)
    found = gather(timelines, made, cut, Reach(made), [], lambda _: 1.0)
    return {word for word, clue in found.items() if any(cited.startswith("kernel:") for cited in clue.evidence)}


def test_paths_and_calls_are_clues_and_the_words_of_the_report_are_not():
    path = "/srv/shop/worktree/ledger/totals.csv"
    found = clues(event(50, "open", "bad", "s", call="openat", errno="EACCES", path=path))
    assert {"ledger", "totals", "openat"} <= found


def test_a_wait_points_at_what_was_waited_for():
    found = clues(event(80, "off_cpu", "bad", "s", call="futex", errno="", failure=False, argument_0=3,
                        duration_ns=70_000_000))  # fmt: skip
    assert "lock" in found
    assert not {"waits", "wait"} & found
