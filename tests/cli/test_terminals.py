"""What a person sees while it works: plain lines in a pipe, one living line on a terminal."""

import io

from rich.console import Console

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
