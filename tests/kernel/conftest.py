"""What the tests of the kernel's evidence need: root, BTF, the objects; a session for those that attach."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
from butfor_agent import building
from butfor_agent.libbpf import BpfError
from butfor_agent.sessions import Session, Settings

from butfor.ports.caches import cache_root

CONTEXT = Path(__file__).parents[2] / "agent/butfor_context/butfor_context"


@pytest.fixture(scope="session")
def objects():
    """The built probes; skipped where this machine cannot build them, and the reason is shown."""
    try:
        return building.objects(cache_root())
    except building.BuildError as error:
        pytest.skip(str(error))


@pytest.fixture
def session(objects):
    """A session of every probe, exceptions too."""
    if os.geteuid():
        pytest.skip("kernel events need root")
    try:
        running = Session(objects, building.PROBES, Settings(ring_bytes=8 << 20, exceptions=True))
    except BpfError as error:
        pytest.skip(str(error))
    yield running
    running.stop()


@pytest.fixture
def watched(session, tmp_path):
    """Run a Python script under the session and return its rows."""

    def run(script, *arguments, environment=None, expect=0):
        rows_file = tmp_path / "kernel.arrow"
        session.open(rows_file)
        process = subprocess.Popen(
            ["/bin/sh", "-c", 'read x; exec "$@"', "-", sys.executable, "-c", script, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, **(environment or {})},
        )  # fmt: skip
        session.watch(process.pid)
        out, _ = process.communicate(b"go\n", timeout=60)
        assert process.returncode == expect, out
        _, processes = session.close()
        rows = pa.ipc.open_stream(rows_file.read_bytes()).read_all().to_pylist()
        return [row for row in rows if row["pid"] == process.pid], processes, out.decode()

    return run


@pytest.fixture(scope="session")
def context_writer(tmp_path_factory):
    """A folder from which the running interpreter can import `butfor_context`."""
    import shutil
    import sysconfig

    if not shutil.which("gcc") or not (Path(sysconfig.get_paths()["include"]) / "Python.h").exists():
        pytest.skip("the context writer needs gcc and Python's headers")
    folder = tmp_path_factory.mktemp("context")
    shutil.copytree(CONTEXT, folder / "butfor_context")
    built = folder / "butfor_context" / f"writer{sysconfig.get_config_var('EXT_SUFFIX')}"
    dialect = ["-mtls-dialect=gnu2"] if os.uname().machine == "x86_64" else []
    subprocess.run(
        ["gcc", "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", "-Wno-missing-field-initializers",
         "-shared", "-fPIC", *dialect, f"-I{sysconfig.get_paths()['include']}", str(CONTEXT / "writer.c"), "-o", str(built)],
        check=True,
    )  # fmt: skip
    return folder
