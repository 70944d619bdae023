"""What goes wrong beside a recording: each is a reason or a counted loss, and the service does not notice."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from butfor.ports.kernels import Kernel
from butfor.ports.recordings import Recording

pytestmark = pytest.mark.slow

STORM = """
import os, sys, time
until, n = time.monotonic() + float(sys.argv[1]), 0
while time.monotonic() < until:
    try: os.open('/nowhere/%d' % (n % int(sys.argv[2])), 0)
    except OSError: n += 1
print(n)
"""


@pytest.fixture
def kernel(objects):
    """One for each test: some do not survive it."""
    with Kernel.start() as running:
        yield running


def storm(recording, seconds, distinct=100):
    """A service that fails all the time; it waits until it is watched."""
    command = ["/bin/sh", "-c", 'read _; exec "$@"', "-", sys.executable, "-c", STORM, str(seconds), str(distinct)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "BUTFOR_SERVICE": "storm"}
    )
    recording.watch(process.pid)
    process.stdin.write("\n")
    process.stdin.flush()
    return process


def rows(folder, name="kernel"):
    return pa.ipc.open_stream((folder / f"{name}.arrow").read_bytes()).read_all().to_pylist()


def held_by(pid):
    """Ids of the BPF programs that a process holds."""
    texts = [path.read_text() for path in Path(f"/proc/{pid}/fdinfo").iterdir()]
    return {int(one) for text in texts for one in re.findall(r"^prog_id:\s*(\d+)", text, re.MULTILINE)}


def loaded():
    """Ids of all BPF programs of the machine."""
    bpftool = shutil.which("bpftool", path=os.environ["PATH"] + ":/usr/sbin")
    if bpftool is None:
        pytest.skip("bpftool is not installed")
    listed = json.loads(subprocess.run([bpftool, "-j", "prog", "show"], capture_output=True, check=True).stdout)
    return {one["id"] for one in listed}


def test_an_agent_that_is_killed_leaves_nothing_behind_and_its_gap_is_recorded(kernel, tmp_path):
    recording = Recording(kernel, tmp_path / "k")
    recording.begin()
    process = storm(recording, 4)
    time.sleep(2.5)
    held = held_by(kernel._process.pid)
    assert held & loaded()
    os.kill(kernel._process.pid, signal.SIGKILL)
    kernel._process.wait()
    out, _ = process.communicate(timeout=30)
    assert (process.returncode, int(out) > 0) == (0, True)
    found = recording.end(services_only=True)
    assert not held & loaded()
    assert "the agent ended" in found.reason
    assert [loss.reason for loss in found.losses] == ["the agent ended early; what came after is missing"]
    assert 0 < found.losses[0].end_ns - found.losses[0].start_ns < 30e9
    assert len([row for row in rows(found.folder) if row["errno"] == "ENOENT"]) > 100
    assert [row["service"] for row in rows(found.folder, "processes")] == ["storm"]


def test_a_full_disk_costs_the_events_that_did_not_fit_and_not_the_next_recording(kernel, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "small", small], check=False).returncode:
        pytest.skip("cannot mount here")
    try:
        recording = Recording(kernel, small / "k")
        recording.begin()
        process = storm(recording, 2, distinct=10**9)
        out, _ = process.communicate(timeout=30)
        assert (process.returncode, int(out) > 0) == (0, True)
        found = recording.end(services_only=True)
        assert "space" in found.reason.lower()
        assert found.losses
    finally:
        subprocess.run(["umount", "-l", small], check=True)
    again = Recording(kernel, tmp_path / "again")
    again.begin()
    storm(again, 0.1).communicate(timeout=30)
    found = again.end(services_only=True)
    assert (found.reason, found.losses) == ("", [])
    assert rows(found.folder)


def test_a_flood_is_delivered_or_counted_by_the_second(objects, tmp_path):
    from butfor_agent import building
    from butfor_agent.sessions import Session, Settings

    session = Session(objects, building.PROBES, Settings(ring_bytes=1 << 12))
    try:
        session.open(tmp_path / "kernel.arrow")
        process = subprocess.Popen(
            ["/bin/sh", "-c", 'read _; exec "$@"', "-", sys.executable, "-c", STORM, "1.5", "100"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        session.watch(process.pid)
        out, _ = process.communicate("\n", timeout=30)
        files, _ = session.close()
    finally:
        session.stop()
    lost = [one for one in files.windows.listed() if one["reason"] == "ring_full"]
    assert sum(one["count"] for one in lost) > 0
    assert files.written + sum(one["count"] for one in lost) >= int(out)
    assert all(one["start_ns"] < one["end_ns"] for one in lost)


def test_a_process_that_is_gone_cannot_be_watched_and_the_others_still_are(kernel, tmp_path):
    recording = Recording(kernel, tmp_path / "k")
    recording.begin()
    process = storm(recording, 0.2)
    recording.watch(4_000_000)
    process.communicate(timeout=30)
    found = recording.end(services_only=True)
    assert "no process 4000000" in found.reason
    assert rows(found.folder)


def test_names_and_paths_of_any_bytes_are_kept_as_text(watched):
    script = """
import ctypes, os
ctypes.CDLL(None).prctl(15, b'\\xff\\n\\x1b[31m\\x80', 0, 0, 0)
try: os.open(b'/nowhere/\\xff\\n\\x1b[31m', 0)
except OSError: pass
"""
    seen, _, _ = watched(script)
    (row,) = [row for row in seen if row["path"].startswith("/nowhere")]
    assert row["path"] == "/nowhere/\ufffd\n\x1b[31m"
    assert row["comm"] == "\ufffd\n\x1b[31m\ufffd"


def test_a_stripped_static_binary_is_seen_and_publishes_nothing(watched, tmp_path):
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")
    (tmp_path / "a.c").write_text('#include <fcntl.h>\nint main(void) { return open("/nowhere/stripped", 0) != -1; }')
    built = subprocess.run(
        ["gcc", "-O2", "-static", "-s", str(tmp_path / "a.c"), "-o", str(tmp_path / "a")], check=False
    )
    if built.returncode:
        pytest.skip("cannot link statically")
    seen, processes, _ = watched(f"import os; os.execv({str(tmp_path / 'a')!r}, ['a'])")
    (row,) = [row for row in seen if row["path"] == "/nowhere/stripped"]
    assert (row["errno"], row["join"], row["miss"]) == ("ENOENT", "none", "no_slot")
    assert [one.context for one in processes if one.executable.endswith("/a")] == ["not published"]


def test_a_writer_that_only_another_mount_namespace_holds_is_read(watched, context_writer, tmp_path):
    place = tmp_path / "place"
    place.mkdir()
    script = f"""
import os, subprocess, sys, time
if len(sys.argv) == 1:
    os.execvp('unshare', ['unshare', '-m', 'sh', '-c',
        'mount -t tmpfs place {place} && cp -a {context_writer}/butfor_context {place} && exec "$0" -c "$1" inside',
        sys.executable, open('/proc/self/cmdline').read().split(chr(0))[2]])
sys.path.append({str(place)!r})
import butfor_context
butfor_context.install(); butfor_context.publish({{'service.name': 'truth'}}); time.sleep(1.0)
butfor_context.activate(b'a' * 24)
try: os.open('/nowhere/x', 0)
except OSError: pass
"""
    seen, _, out = watched(script)
    (row,) = [row for row in seen if row["path"].startswith("/nowhere")]
    assert (row["join"], row["span_id"]) == ("thread", b"a".hex() * 8), out
    assert not (place / "butfor_context").exists()
