"""The command line of a capture: ports, entries, the environment with the doors in it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from butfor.capturing import commands
from butfor.capturing.checkouts import checkout
from butfor.capturing.commands import Command
from butfor.errors import UserError


def test_port_in_the_command_puts_an_edge_in_front() -> None:
    planned = commands.plan(["uvicorn", "app:app", "--port", "$PORT", "--uds=${PORT}x", "$PORTAL"], None, None)
    assert planned.port
    assert planned.front
    assert planned.front != planned.port
    assert planned.argv[3:] == [str(planned.port), f"--uds={planned.port}x", "$PORTAL"]
    assert planned.environment == {"PORT": str(planned.port)}


def test_listen_and_target_name_the_edge() -> None:
    planned = commands.plan(["server"], 8080, 8081)
    assert (planned.argv, planned.front, planned.port) == (["server"], 8080, 8081)
    assert commands.plan(["server"], None, None).front is None
    assert commands.plan(["s", "$PORT"], 8080, None).front == 8080


@pytest.mark.parametrize(("listen", "target"), [(8080, None), (8080, 8080)])
def test_an_edge_that_cannot_stand_is_refused(listen: int, target: int | None) -> None:
    with pytest.raises(UserError, match="--target"):
        commands.plan(["server"], listen, target)


def test_a_literal_port_can_be_moved() -> None:
    moved = commands.moved(Command(["python", "app.py", "--bind=127.0.0.1:8000", "--n=18000"]), 8000)
    assert moved is not None
    assert moved.front == 8000
    assert moved.argv == ["python", "app.py", f"--bind=127.0.0.1:{moved.port}", "--n=18000"]
    assert commands.moved(Command(["python", "app.py"]), 8000) is None


def test_a_python_entry_can_be_wrapped_once() -> None:
    wrapped = commands.wrapped(Command([sys.executable, "app.py"]))
    assert wrapped is not None
    assert wrapped.argv[0] == sys.executable
    assert wrapped.argv[-2:] == ["--choose", "app.py"]
    assert commands.wrapped(wrapped) is None
    assert commands.wrapped(Command(["/bin/sh", "x"])) is None
    assert commands.wrapped(Command(["/no/such"])) is None


def test_a_script_is_wrapped_with_its_interpreter(tmp_path: Path) -> None:
    script = tmp_path / "serve"
    script.write_text(f"#!{sys.executable} -E\nprint(1)\n")
    script.chmod(0o755)
    wrapped = commands.wrapped(Command([str(script), "--x"]))
    assert wrapped is not None
    assert wrapped.argv[-4:] == ["--choose", "-E", str(script), "--x"]


@pytest.mark.parametrize("options", [["-I"], ["-Bs", "-E"], ["-W", "error", "-IB"], ["-S", "-m", "x"]])
def test_an_isolated_interpreter_by_its_path_goes_through_the_runner(options: list[str]) -> None:
    argv = [sys.executable, *options, "app.py"]
    assert "--choose" in commands.isolated(argv)


@pytest.mark.parametrize("argv", [["app.py", "-I"], ["-m", "x", "-E"], ["-W", "-I", "x"], ["-c", "pass", "-S"], []])
def test_options_of_the_program_are_not_the_interpreters(argv: list[str]) -> None:
    assert commands.isolated([sys.executable, *argv]) == [sys.executable, *argv]


def test_the_environment_keeps_the_callers_exporter(tmp_path: Path) -> None:
    def made(base: dict[str, str]) -> dict[str, str]:
        return commands.environment(
            {"PATH": os.environ["PATH"], **base}, tmp_path / "spool", "shop",
            roots=[tmp_path], revision="f" * 40, otlp="http://127.0.0.1:1", shims=tmp_path / "shims",
        )  # fmt: skip

    plain = made({"PYTHONPATH": "/mine"})
    assert plain["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://127.0.0.1:1"
    assert plain["BUTFOR_SOURCE_ROOT"] == str(tmp_path)
    assert plain["PYTHONPATH"].endswith(":/mine")
    assert plain["PATH"].startswith(str(tmp_path / "shims"))
    own = made({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector", "OTEL_SERVICE_NAME": "theirs"})
    assert "OTEL_EXPORTER_OTLP_ENDPOINT" not in own
    assert own["OTEL_SERVICE_NAME"] == "theirs"


def test_checkout_knows_revision_and_changes(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    inside = tmp_path / "deep"
    inside.mkdir()
    assert checkout(inside).root == inside
    git("init", "-q")
    assert (checkout(inside).root, checkout(inside).revision) == (tmp_path, "")
    (inside / "a.py").write_text("a")
    git("add", "-A")
    git("commit", "-qm", "x")
    hook = tmp_path / ".git" / "hooks" / "post-index-change"
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hooked\n")
    hook.chmod(0o755)
    clean = checkout(inside)
    assert (clean.root, clean.revision, clean.changed) == (tmp_path, git("rev-parse", "HEAD"), False)
    (inside / "a.py").write_text("b")
    assert checkout(inside).changed
    assert not (tmp_path / "hooked").exists()
