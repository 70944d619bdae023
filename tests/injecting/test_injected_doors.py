"""Ways into an interpreter, and what must not change in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from injected_services import PACKAGE, SERVICES

from butfor_inject import run, shims

PROBE = """
import json, sys
print(json.dumps({"argv": sys.argv, "path": sys.path, "name": __name__, "isolated": sys.flags.isolated,
 "active": "butfor_inject.activating" in sys.modules, "file": globals().get("__file__"), "executable": sys.executable}))
"""


def play(script, tmp_path, *, shimmed=True, capture=True):
    """What a shell script prints, with the shims first on PATH, or without us at all."""
    folder = tmp_path / "shims"
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {"PATH": path, "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    if shimmed:
        shims.make_shims(folder, str(Path(sys.executable).parent))
        ours = shims.environment(shims.SITE, tmp_path / "spool", "doors", shims=folder, path=path)
        env.update(ours if capture else {"PATH": ours["PATH"]})
    (tmp_path / "probe.py").write_text(PROBE)
    done = subprocess.run(
        ["bash", "-e", "-c", script], env=env, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


COMMANDS = [
    "python probe.py a b",
    "PYTHONPATH=/nowhere exec python probe.py",
    "python -I probe.py a",
    "python -E -X dev probe.py",
    "python -S probe.py",
    "python -Im json.tool --help > /dev/null; python -IB probe.py -c x",
    "python -m probe q",
    "python -Em probe q",
    'python -Ic "$(cat probe.py)" 1 2',
    'python -W ignore -E -c "$(cat probe.py)" -m',
    "python - < probe.py",
    "exec python3 probe.py",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_start_is_captured_and_looks_as_without_us(tmp_path, command):
    with_us = play(command, tmp_path)
    without = play(command, tmp_path, shimmed=False)
    assert with_us.pop("active") is True
    assert without.pop("active") is False
    assert with_us == without


def test_shims_alone_change_nothing(tmp_path):
    """The folder on PATH of a process that is not captured."""
    seen = play("python -I probe.py a", tmp_path, capture=False)
    assert seen["active"] is False
    assert seen["argv"] == ["probe.py", "a"]


def test_console_script_with_a_shebang_that_ignores_the_environment(tmp_path):
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, flags in (("plain", ""), ("isolated", " -I")):
        program = programs / name
        program.write_text(f"#!{sys.executable}{flags}\n{PROBE}")
        program.chmod(0o755)
    folder = tmp_path / "shims"
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    shims.make_shims(folder, str(programs))
    env = shims.environment(shims.SITE, tmp_path / "spool", "doors", shims=folder, path=path)
    for name in ("plain", "isolated"):
        done = subprocess.run(
            ["bash", "-c", f"PYTHONPATH=/nowhere {name} x"], env=env, capture_output=True, text=True, check=True
        )
        seen = json.loads(done.stdout)
        assert seen["active"] is True, name
        assert seen["argv"] == [str(programs / name), "x"]


def test_nested_shims_do_not_loop(tmp_path):
    outer, inner = tmp_path / "outer", tmp_path / "inner"
    base = str(Path(sys.executable).parent)
    shims.make_shims(outer, base)
    shims.make_shims(inner, base)
    path = os.pathsep.join([str(outer), str(inner), base, os.environ["PATH"]])
    done = subprocess.run(
        ["python", "-c", "print(1)"], env={"PATH": path}, capture_output=True, text=True, timeout=20, check=True
    )
    assert done.stdout == "1\n"


def test_missing_program_is_not_found(tmp_path):
    folder = tmp_path / "shims"
    shims.make_shims(folder, "")
    env = {"PATH": f"{folder}:/nowhere"}
    done = subprocess.run(["/bin/sh", "-c", "python x"], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 127
    assert "python: not found" in done.stderr


def test_the_next_sitecustomize_still_runs(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.theirs = True\n")
    env = {"PYTHONPATH": f"{PACKAGE / 'site'}:{tmp_path}", "BUTFOR_SPOOL": str(tmp_path / "spool")}
    code = "import sys, sitecustomize; print(sys.theirs, sitecustomize.__file__, 'butfor_inject' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", str(tmp_path / "sitecustomize.py"), "True"]


def test_our_dependencies_are_not_importable_by_the_service(tmp_path):
    """sys.path is exactly what it is without us: nothing of ours can satisfy or shadow an import."""
    code = "import sys; print(sys.path)"
    env = {"BUTFOR_SPOOL": str(tmp_path / "spool"), "PYTHONPATH": str(PACKAGE / "site")}
    ours = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    plain = subprocess.run([sys.executable, "-c", code], env={}, capture_output=True, text=True, check=True)
    assert ours.stdout == plain.stdout


@pytest.mark.parametrize("spool", ["/proc/nowhere", "/dev/null/spool", "\x01" * 300])
def test_a_spool_that_cannot_be_written_does_not_stop_the_service(start, spool):
    service = start([sys.executable, str(SERVICES / "wsgi_app.py"), "werkzeug", "PORT"], {"BUTFOR_SPOOL": spool})
    assert service.get("/") == (200, b"got 0")
    assert service.get("/failing/1")[0] == 500


def test_a_spool_that_vanishes_does_not_stop_the_service(start):
    service = start([sys.executable, "-m", "uvicorn", "asgi_app:app", "--port", "PORT"])
    gone = service.spool.folder.rename(service.spool.folder.with_name("gone"))
    shutil.rmtree(gone)
    for _ in range(3):
        assert service.ask("POST", "/", b"abc") == (200, b"got 3")
    assert service.get("/failing/1")[0] == 500


@pytest.mark.slow
def test_isolated_interpreter_with_spawned_workers(start, tmp_path):
    folder = tmp_path / "shims"
    base = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    shims.make_shims(folder, base)
    (tmp_path / "serve.py").write_text(
        f"import sys\nsys.path.insert(0, {str(SERVICES)!r})\nimport uvicorn\n"
        "if __name__ == '__main__':\n    uvicorn.run('asgi_app:app', port=int(sys.argv[1]), workers=2)\n"
    )
    env = {"PATH": f"{folder}:{base}", "PYTHONPATH": "/nowhere"}
    service = start([str(folder / "python"), "-I", "serve.py", "PORT"], env)
    service.get("/failing/2")
    service.spool.settle("/failing/2")
    assert service.spool.exceptions(service.spool.span("/failing/2"))


def test_what_a_process_loaded_and_is(start):
    service = start([sys.executable, str(SERVICES / "wsgi_app.py"), "werkzeug", "PORT"])
    loaded = service.spool.modules()
    assert str(SERVICES / "wsgi_app.py") in loaded
    assert not any("/butfor_inject/butfor_inject/" in name for name in loaded)
    process = service.spool.processes()[0]
    assert process["service"] == "behaviours"
    assert process["command"][1:3] == [str(SERVICES / "wsgi_app.py"), "werkzeug"]
    assert process["instrumentation"] == "injected"
    assert process["distributions"]["werkzeug"][0].isdigit()
    assert process["notes"] == []
    assert "werkzeug.serving:servers" in process["hooks"]


OPTION = st.sampled_from(["-B", "-I", "-E", "-S", "-s", "-u", "-OO", "-X", "-W", "-Xdev", "-Werror", "-bb", "-q"])


@given(
    st.lists(OPTION, max_size=5),
    st.sampled_from([["-c", "pass"], ["-m", "mod"], ["app.py"], ["-cpass"], ["-mmod"]]),
    st.lists(st.text(max_size=5), max_size=3),
)
def test_options_and_command_are_split_where_the_interpreter_splits_them(options, command, rest):
    given_options = [part for o in options for part in ([o, "dev"] if o in ("-X", "-W") else [o])]
    found, what = run.split([*given_options, *command, *rest])
    assert found == given_options
    normal = [command[0][:2], command[0][2:]] if len(command) == 1 and command[0][:2] in ("-c", "-m") else command
    assert what == [*normal, *rest]


@given(st.lists(st.text(max_size=8), max_size=8))
def test_splitting_never_fails_and_loses_nothing_known(arguments):
    options, command = run.split(arguments)
    assert len(options) + len(command) <= len(arguments) + 1
