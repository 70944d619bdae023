"""Signals that ended a process, told apart from those by which a process takes its own threads down."""

import subprocess
import sys

import pyarrow as pa
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


CRASH = """
import ctypes, os
if os.fork() == 0:
    ctypes.string_at(1 << 44, 1)
os._exit(0 if os.wait()[1] == 11 else 1)
"""


def test_where_a_worker_crashed_is_known_although_it_is_gone(session, tmp_path):
    session.open(tmp_path / "kernel.arrow")
    process = subprocess.Popen(
        ["/bin/sh", "-c", 'read x; exec "$@"', "-", sys.executable, "-c", CRASH], stdin=subprocess.PIPE
    )
    session.watch(process.pid)
    process.communicate(b"go\n", timeout=60)
    assert process.returncode == 0
    session.close()
    rows = pa.ipc.open_stream((tmp_path / "kernel.arrow").read_bytes()).read_all().to_pylist()
    (died,) = [row for row in rows if row["kind"] == "signal" and row["value"] == 11]
    frames = session.stacks.known[died["pid"], died["user_stack"]]
    assert frames[0]["module"]
