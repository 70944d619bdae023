"""What only the kernel's evidence needs is asked of nobody and stops nobody."""

import importlib.util
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "tools" / "system.py"


@pytest.fixture
def system(monkeypatch, tmp_path):
    spec = importlib.util.spec_from_file_location("butfor_system", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.installed = []
    monkeypatch.setattr(module, "install", lambda packages: module.installed.append(packages) or module.code)
    monkeypatch.setattr(module, "missing_packages", list)
    monkeypatch.setattr(module, "kernel_packages", lambda: ["bpftool", "clang-16"])
    monkeypatch.setattr(module.shutil, "which", lambda *_, **__: "/usr/bin/apt-get")
    monkeypatch.setattr(module, "BTF", FILE)
    module.code = 0
    return module


def test_root_gets_the_compiler_of_the_probes(system, monkeypatch):
    monkeypatch.setattr(system.os, "geteuid", lambda: 0)
    assert (system.main(), system.installed) == (0, [["bpftool", "clang-16"]])


def test_that_it_cannot_be_installed_stops_nobody(system, monkeypatch):
    monkeypatch.setattr(system.os, "geteuid", lambda: 0)
    system.code = 100
    assert system.main() == 0


def test_a_kernel_without_btf_needs_none_of_it(system, monkeypatch, tmp_path):
    monkeypatch.setattr(system.os, "geteuid", lambda: 0)
    monkeypatch.setattr(system, "BTF", tmp_path / "absent")
    assert (system.main(), system.installed) == (0, [])


def test_an_ordinary_user_is_not_asked_for_it(system, monkeypatch, capsys):
    monkeypatch.setattr(system.os, "geteuid", lambda: 1000)
    assert (system.main(), system.installed, capsys.readouterr().err) == (0, [], "")


def test_what_everything_needs_is_asked_of_an_ordinary_user(system, monkeypatch, capsys):
    monkeypatch.setattr(system.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(system, "missing_packages", lambda: ["git"])
    assert system.main() == 1
    assert "run as root: apt-get install -y git" in capsys.readouterr().err
