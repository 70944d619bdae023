"""What strace's log says of calls that failed: bound to requests by time, unknown where that cannot be done."""

import shutil
import subprocess
import sys
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from butfor.reproducing.plain import tracing

REFUSED = {"kind": "connect", "errno": "ECONNREFUSED", "target_type": "inet"}
DIED = {"kind": "signal", "errno": "SIGSEGV", "target_type": "process"}
LOG = """\
71 100.000001 connect(3, {sa_family=AF_INET, sin_port=htons(9)}, 16) = -1 ECONNREFUSED (Connection refused)
71 101.500000 getsockopt(3, SOL_SOCKET, SO_ERROR, [ECONNREFUSED], [4]) = 0
72 102.250000 <... openat resumed>) = -1 EMFILE (Too many open files)
72 103.000000 write(4, " = -1 ENOSPC"..., 12) = 12
73 104.000000 +++ killed by SIGSEGV (core dumped) +++
73 105.000000 --- SIGSEGV {si_signo=SIGSEGV} ---
"""


def asked(start, seconds=0.5):
    return {"start_ns": int(start * 1e9), "seconds": seconds}


@pytest.fixture
def log(tmp_path):
    (tmp_path / "calls.log").write_text(LOG)
    return tmp_path / "calls.log"


def test_calls_options_and_deaths_are_read_and_what_was_only_written_is_not(log):
    assert [how for _, *how in tracing.failures(log)] == [
        ["connect", "ECONNREFUSED"], ["connect", "ECONNREFUSED"], ["open", "EMFILE"], ["signal", "SIGSEGV"],
    ]  # fmt: skip
    assert tracing.failures(log)[0][0] == 100_000_001_000


def test_a_request_has_what_failed_while_it_was_served(log):
    answers = [asked(99.8), asked(101.4), asked(102.0), asked(103.9)]
    assert tracing.seen(answers, [REFUSED, DIED], log) == [[REFUSED], [REFUSED], [], [DIED]]


def test_requests_at_once_cannot_be_told_apart(log):
    assert tracing.seen([asked(99.8), asked(99.9), asked(103.9)], [REFUSED], log) == [None, None, []]


def test_what_strace_does_not_see_is_not_known(log, tmp_path):
    waits = {"kind": "off_cpu", "errno": "", "target_type": "lock"}
    assert tracing.seen([asked(99.8)], [waits], log) == [None]
    assert tracing.seen([asked(99.8)], [REFUSED], tmp_path / "none") == [None]
    assert tracing.seen([asked(99.8)], [REFUSED], None) == [None]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.integers(0, len(LOG)))
def test_a_log_that_is_cut_or_hostile_never_raises_nor_invents(tmp_path, noise, cut):
    path = tmp_path / "hostile.log"
    path.write_bytes(LOG.encode()[:cut] + b"\n" + noise)
    whole = [line for line in LOG[:cut].splitlines() if line in LOG.splitlines()]
    found = tracing.failures(path)
    assert len(found) <= len(whole) + 1 + noise.count(b"\n") + noise.count(b"\r")


@pytest.mark.skipif(shutil.which("strace") is None, reason="there is no strace here")
def test_strace_itself_writes_what_is_read(tmp_path):
    script = "import socket\ntry: socket.create_connection(('127.0.0.1', 9), timeout=1)\nexcept OSError: pass\n"
    run = tracing.traced(f'exec {sys.executable} -c "{script}"', tmp_path / "calls.log")
    before = time.time()
    subprocess.run(["bash", "-c", run], check=True, timeout=60)
    answer = asked(before, time.time() - before)
    assert tracing.seen([answer], [REFUSED], tmp_path / "calls.log") == [[REFUSED]]


def test_without_strace_nothing_is_run_instead(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    assert tracing.traced("exec python3 server.py", tmp_path / "calls.log") is None
