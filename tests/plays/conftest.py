"""Sandboxes that work on this machine, and small services for plays."""

import os
import sys
import tempfile
from pathlib import Path

import pytest

from butfor.ports.interpreters import interpreter
from butfor.ports.sandboxes import Limits, Sandbox, _works, detect, give


class AsNobody(Sandbox):
    """The kind of an ordinary user, when the tests are run by root: `bwrap` is a script that drops to nobody."""

    def run(self, argv, **options):
        for host in options.get("writable") or {}:
            host.mkdir(parents=True, exist_ok=True)
            give(host, 65534)
        return super().run(argv, **options)


@pytest.fixture(scope="session", params=["root", "user"])
def sandbox(request, open_folder):
    as_root = os.geteuid() == 0
    if request.param == "root" and not as_root:
        pytest.skip("needs root")
    box = Sandbox(request.param, bwrap="bwrap")
    if request.param == "user" and as_root:
        script = open_folder / "bwrap-as-nobody"
        script.write_text('#!/bin/sh\nexec setpriv --reuid=65534 --regid=65534 --clear-groups -- bwrap "$@"\n')
        script.chmod(0o755)
        box = AsNobody("user", bwrap=str(script))
    if not _works(box):
        pytest.skip(f"bubblewrap of kind {request.param} does not work here")
    return box


@pytest.fixture(scope="session")
def open_folder():
    """A temporary folder that every user of the machine can get to, unlike pytest's."""
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="butfor-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def place(open_folder):
    """A folder of one test in `open_folder`."""
    folder = Path(tempfile.mkdtemp(dir=open_folder))
    folder.chmod(0o755)
    return folder


@pytest.fixture(scope="session")
def best():
    box = detect()
    if box.kind == "none":
        pytest.skip("no namespaces on this machine")
    return box


class Shell:
    """Runs bash in a sandbox and gives its output; `python` is a Python that is seen inside."""

    def __init__(self, box, folder):
        self.box, self.folder = box, folder
        self.interpreter = interpreter("/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable)
        self.python = str(self.interpreter.executable)

    def __call__(self, script, *, seconds=20.0, read_only=None, **options):
        log = self.folder / "output"
        log.unlink(missing_ok=True)
        limits = options.pop("limits", Limits(seconds=seconds))
        env = {"PYTHON": self.python, **options.pop("env", {})}
        binds = {**self.interpreter.binds(), **(read_only or {})}
        done = self.box.run(
            ["bash", "-c", script], env=env, cwd="/", stdout=log, read_only=binds, limits=limits, **options
        )
        return done, log.read_text()


@pytest.fixture
def shell(sandbox, place):
    return Shell(sandbox, place)
