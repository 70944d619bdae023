"""The injected package is copied and compiled once per interpreter."""

import subprocess
import sys
from pathlib import Path

from butfor.ports import injections


def test_an_interpreter_finds_bytecode_and_compiles_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("BUTFOR_CACHE", str(tmp_path))
    make = injections.injection.__wrapped__
    package = make(Path(sys.executable))
    assert package == make(Path(sys.executable))
    assert package.is_relative_to(tmp_path)
    script = "import sys; sys.path.insert(0, sys.argv[1]); import butfor_inject.recorders"
    command = [sys.executable, "-I", "-v", "-c", script, str(package.parent)]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    ours = [line for line in said.splitlines() if str(package) in line]
    assert any("recorders" in line and "matches" in line for line in ours)
    assert not any(line.startswith("# code object from '") and line.endswith(".py'") for line in ours)


def test_a_python_that_cannot_compile_costs_nothing_but_time(tmp_path, monkeypatch):
    monkeypatch.setenv("BUTFOR_CACHE", str(tmp_path))
    assert (injections.injection.__wrapped__(Path("/bin/false")) / "activating.py").is_file()
    assert not list(tmp_path.rglob("compiled-*"))
