"""Signals that ended a process, told apart from those by which a process takes its own threads down."""

import pytest

pytestmark = pytest.mark.slow

THREADS = """
import os, signal, threading, time
for _ in range(3): threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
time.sleep(0.2)
"""


def signals(rows):
    return {row["value"] for row in rows if row["kind"] == "signal"}


def test_threads_that_end_with_their_process_were_not_killed(watched):
    rows, _, _ = watched(THREADS)
    assert [row["value"] for row in rows if row["kind"] == "exit"] == [0]
    assert signals(rows) == set()


def test_a_crash_in_one_thread_is_the_only_signal(watched):
    rows, _, _ = watched(THREADS + "os.kill(os.getpid(), signal.SIGSEGV)", expect=-11)
    assert signals(rows) == {11}


def test_a_process_that_is_killed_is_told_of(watched):
    rows, _, _ = watched(THREADS + "os.kill(os.getpid(), signal.SIGKILL)", expect=-9)
    assert signals(rows) == {9}
