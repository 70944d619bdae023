"""What a person sees while it works: plain lines in a pipe, one living line on a terminal."""

import io
import time

from rich.console import Console

from butfor.cli import terminals
from butfor.cli.terminals import Terminal


def shown(*, terminal):
    console = Console(file=io.StringIO(), force_terminal=terminal, width=100, highlight=False)
    with Terminal("investigating [x]", console) as progress:
        progress.stage("reproduce")
        progress.ran()
        progress.ran()
        progress.note("bad failed in 10 of 10 [runs]")
        now = progress.now()
        progress.stage("bisect")
        progress.ran()
    return console.file.getvalue(), now


def test_in_a_pipe_every_stage_is_a_line_without_controls():
    text, _ = shown(terminal=False)
    assert "\x1b" not in text
    assert "investigating [x]" in text
    assert "10 of 10 [runs]" in text
    assert text.count("bisect") == 1


def test_on_a_terminal_the_line_says_stage_time_and_runs():
    text, now = shown(terminal=True)
    assert now.startswith("reproduce: 0 s, 2 runs")
    assert "2 runs in all" in now
    assert "reproduce" in text
    assert "2 runs" in text
    assert "1 runs" in text


def test_in_a_pipe_a_long_stage_says_now_and_then_that_it_goes_on(monkeypatch):
    monkeypatch.setattr(terminals, "QUIET_S", 0.05)
    console = Console(file=io.StringIO(), force_terminal=False, width=100, highlight=False)
    with Terminal("x", console) as progress:
        progress.stage("bisect")
        progress.ran()
        time.sleep(0.3)
    text = console.file.getvalue()
    assert "bisect: 0 s, 1 runs; 0 s and 1 runs in all" in text
    time.sleep(0.1)
    assert console.file.getvalue() == text


def test_a_stage_that_comes_again_has_a_number():
    console = Console(file=io.StringIO(), force_terminal=False, width=100, highlight=False)
    with Terminal("x", console) as progress:
        for name in ("bisect", "bisect", "counterfactual", "bisect"):
            progress.stage(name)
    assert [line.split("s ", 1)[1] for line in console.file.getvalue().splitlines()[1:]] == [
        "bisect", "counterfactual", "bisect (2)",
    ]  # fmt: skip
