"""Signals that ended a process, told apart from those by which a process takes its own threads down."""

import subprocess
import sys
import time

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
import ctypes, os, sys
if os.fork() == 0:
    ctypes.string_at(1 << 44, 1)
print(os.wait()[1], flush=True)
sys.stdin.read()
"""
LATE = """
import ctypes, sys, time
time.sleep(0.3)
late = ctypes.CDLL("libz.so.1")
print(flush=True)
sys.stdin.readline()
late.crc32(ctypes.c_ulong(0), ctypes.c_void_p(1 << 44), 64)
"""


def crashed(session, path, script, *, wait_s):
    """The script's process until it said something, and the frames of the one that died of it."""
    session.open(path)
    process = subprocess.Popen(
        ["/bin/sh", "-c", 'read x; exec "$@"', "-", sys.executable, "-c", script],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    session.watch(process.pid)
    process.stdin.write(b"go\n")
    process.stdin.flush()
    process.stdout.readline()
    time.sleep(wait_s)
    if wait_s:
        process.communicate(b"on\n", timeout=60)
    session.close()
    process.communicate(timeout=60)
    rows = pa.ipc.open_stream(path.read_bytes()).read_all().to_pylist()
    (died,) = [row for row in rows if row["kind"] == "signal" and row["value"] == 11]
    stacks = {(row["pid"], row["stack"]): row["frames"] for row in session.stacks.table().to_pylist()}
    return stacks[died["pid"], died["user_stack"]]


def test_where_a_worker_crashed_is_known_although_it_is_gone(session, tmp_path):
    assert crashed(session, tmp_path / "kernel.arrow", CRASH, wait_s=0)[0]["module"]


def test_where_a_process_crashed_in_what_it_loaded_late_is_known_although_it_is_gone(session, tmp_path):
    frames = crashed(session, tmp_path / "kernel.arrow", LATE, wait_s=3)
    assert "libz" in frames[0]["module"]


NATIVE = """
long total;
static void __attribute__((noinline)) reads_nothing(volatile long *at) { total += *at; total *= 3; }
void decode(long at) { reads_nothing((long *)at); total += 1; }
"""


def test_the_function_that_crashed_is_named(session, tmp_path):
    library = tmp_path / "codec.so"
    subprocess.run(["gcc", "-xc", "-", "-shared", "-fPIC", "-O1", "-o", str(library)],
                   input=NATIVE.encode(), check=True)  # fmt: skip
    script = LATE.replace("libz.so.1", str(library)).replace("late.crc32(", "late.decode(ctypes.c_long(1 << 44));(")
    frames = crashed(session, tmp_path / "kernel.arrow", script, wait_s=2)
    assert (frames[0]["module"], frames[0]["function"]) == (str(library), "reads_nothing")
