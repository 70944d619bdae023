"""`butfor capture` under the kernel's eyes: what the first line promises is in the bundle, and without it all else is."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pyarrow as pa
import pytest

from butfor.capturing.commands import free_port
from butfor.cli import captures
from butfor.errors import UserError
from butfor.evidence.bundles import Manifest

sys.path.insert(0, str(Path(__file__).parent))
import kernel_services as services

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="kernel events need root")]


def capture(folder, *arguments, then=(), until="first request seen"):
    """Run a capture, ask it `then` (port, paths), end it with Ctrl-C; what it said, and its exit code."""
    command = [sys.executable, "-m", "butfor.cli", "capture", "--name", "shop", "--out", "bundle", "--privacy", "local"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with subprocess.Popen(
        [*command, *arguments], cwd=folder, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        said = []
        while not said or not said[-1].startswith("capturing"):
            said.append(process.stderr.readline())
            assert said[-1], said
        for port, path in then:
            ask(port, path)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        said.append(process.communicate(timeout=60)[1])
    return "".join(said), process.returncode


def ask(port, path):
    for _ in range(200):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
                return answer.status
        except OSError:
            time.sleep(0.1)
    raise AssertionError("nobody listens")


def rows(folder, name):
    return pa.ipc.open_stream((folder / "bundle" / f"{name}.arrow").read_bytes()).read_all().to_pylist()


@pytest.fixture
def app(objects, tmp_path):
    (tmp_path / "app.py").write_text(services.APP)
    return free_port()


def test_a_command_is_watched_from_its_first_moment_and_joined(tmp_path, app):
    # where its threads keep their spans is worked out once it runs: the first tenth of a second is not joined exactly
    (tmp_path / "app.py").write_text("import time; time.sleep(0.8)\n" + services.APP)
    command = ["sh", "-c", f"PORT={app} exec python app.py"]
    said, code = capture(tmp_path, "--", *command, then=[(app, "/refused"), (app, "/missing")])
    assert (code, "of the kernel: system calls that fail" in said) == (0, True), said
    manifest = Manifest.model_validate_json((tmp_path / "bundle" / "manifest.json").read_text())
    assert manifest.bpf.startswith("live: ")
    events = rows(tmp_path, "kernel")
    found = [row for row in events if row["path"].startswith("/nowhere") or row["errno"] == "ECONNREFUSED"]
    assert [row["join"] for row in found] == ["thread", "thread"]
    assert next(row["path"] for row in events if row["kind"] == "exec").endswith("sh")
    assert not [row for row in events if row["kind"] in ("signal", "exit")]  # that it was ended is our doing


def test_a_process_that_runs_already_is_watched_and_left_alone(tmp_path, app):
    running = subprocess.Popen([sys.executable, "app.py"], cwd=tmp_path, env={**os.environ, "PORT": str(app)})
    try:
        ask(app, "/")
        said, code = capture(tmp_path, "--pid", str(running.pid), then=[(app, "/refused"), (app, "/missing")])
        assert (code, running.poll()) == (0, None), said
        assert "what happens inside the process" in said
        (process,) = rows(tmp_path, "processes")
        assert (process["service"], process["context"]) == ("shop", "not published")
        assert [r["join"] for r in rows(tmp_path, "kernel") if r["path"].startswith("/nowhere")] == ["none"]
    finally:
        running.kill()
        running.wait()


def test_no_kernel_is_said_and_everything_else_is_there(tmp_path, app):
    said, code = capture(tmp_path, "--no-kernel", "--", "sh", "-c", f"PORT={app} exec python app.py", then=[(app, "/")])
    assert (code, "kernel events (--no-kernel was given)" in said) == (0, True), said
    assert not list((tmp_path / "bundle").glob("*.arrow"))
    assert "1 server spans from inside" in said


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"pid": 4_000_000}, "there is no process 4000000"),
        ({"pid": -1}, "there is no process -1"),
        ({"pid": 1, "kernel": False}, "leave --no-kernel out"),
        ({"pid": 1, "command": ["true"]}, "leave the command"),
        ({"command": ["./absent"]}, "cannot be started"),
    ],
)
def test_what_cannot_be_captured_is_one_clear_line(tmp_path, monkeypatch, given, reason):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=reason):
        captures.capture(**given)
    assert not (tmp_path / "out").exists()
