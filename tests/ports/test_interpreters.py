"""Runs use the Python that a service was captured under, where this machine has it."""

from __future__ import annotations

import sys

import pytest

from butfor.ports import benches, interpreters
from butfor.ports.benches import Bench
from butfor.ports.environments import Environments
from butfor.ports.sandboxes import Sandbox

OURS = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("cpython 3.12.1 /usr/bin/python3", "3.12"), ("3.13.0 (main, Oct  8)", "3.13"), ("pypy 3.10.1 /x", ""),
        ("/usr/bin/python3", ""), ("", ""), (None, ""), ("cpython 3.999.1", ""),
    ],
)  # fmt: skip
def test_the_version_that_a_capture_names(said, found):
    assert interpreters.minor(said) == found


@pytest.fixture
def bench(tmp_path):
    return Bench(Sandbox("none", "as a test"), Environments(tmp_path, Sandbox("none", "x"), sys.executable))


def test_the_same_or_an_unknown_version_changes_nothing(bench):
    assert bench.suited(f"cpython {OURS}.99 /x") == (bench, "")
    assert bench.suited(None) == (bench, "")


def test_another_version_is_used_where_it_is_there(bench, monkeypatch):
    monkeypatch.setattr(benches, "of_version", lambda wanted: sys.executable if wanted == "3.1" else None)
    suited, difference = bench.suited("cpython 3.1.4 /x")
    assert suited is not bench
    assert difference == ""
    kept, difference = bench.suited("cpython 3.2.0 /x")
    assert kept is bench
    assert "captured under CPython 3.2" in difference


def test_an_interpreter_that_was_asked_for_stays(bench, monkeypatch):
    monkeypatch.setattr(benches, "of_version", lambda _: sys.executable)
    asked = Bench(bench.sandbox, bench.environments, chosen=True)
    assert asked.suited("cpython 3.1.4 /x")[0] is asked


def test_a_program_of_another_version_under_that_name_is_refused(tmp_path, monkeypatch):
    fake = tmp_path / "python3.2"
    fake.symlink_to(sys.executable)
    broken = tmp_path / "python3.3"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [interpreters.of_version(v) for v in ("3.2", "3.3", "3.4")] == [None, None, None]
