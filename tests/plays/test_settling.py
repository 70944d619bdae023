"""A play ends when the recorders have written the last requests' ends, and no later."""

import time
from types import SimpleNamespace

import pytest

from butfor.ports.players import settling

TRACE = "ab" * 16


def write(spool, kind, span, trace=TRACE):
    with (spool / f"{kind}-1.jsonl").open("a") as file:
        file.write(f'{{"spans":[{{"traceId":"{trace}","spanId":"{span * 16}"}}]}}\n')


@pytest.fixture
def naps(monkeypatch):
    taken = []
    monkeypatch.setattr(settling, "time", SimpleNamespace(monotonic=time.monotonic, sleep=taken.append))
    return taken


@pytest.mark.parametrize("kind", ["spans", "ended"])
def test_what_has_ended_is_not_waited_for(tmp_path, naps, kind):
    for span in "12":
        write(tmp_path, "open", span)
        write(tmp_path, kind, span)
    write(tmp_path, "open", "3", "cd" * 16)
    settling.settle(str(tmp_path), {TRACE})
    assert naps == []


def test_a_span_that_is_open_is_waited_for(tmp_path, monkeypatch):
    for span in "12":
        write(tmp_path, "open", span)
    write(tmp_path, "spans", "1")
    naps = []

    def sleep(seconds):
        naps.append(seconds)
        if len(naps) == 3:
            write(tmp_path, "ended", "2")

    monkeypatch.setattr(settling, "time", SimpleNamespace(monotonic=time.monotonic, sleep=sleep))
    settling.settle(str(tmp_path), {TRACE})
    assert len(naps) >= 3
    assert settling.all_ended(str(tmp_path), {TRACE})


def test_a_trace_that_nobody_recorded_is_waited_for_a_moment(tmp_path, monkeypatch):
    monkeypatch.setattr(settling, "_QUIET_S", 0.0)
    assert not settling.all_ended(str(tmp_path), {TRACE})
    settling.settle(str(tmp_path), {TRACE})
