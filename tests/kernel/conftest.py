"""What the tests of the kernel's evidence need: root, BTF, the objects; a session for those that attach."""

import os
import subprocess
import sys

import pyarrow as pa
import pytest
from butfor_agent import building
from butfor_agent.sessions import Session, Settings

from butfor.errors import InfrastructureError
from butfor.ports import writers
from butfor.ports.caches import cache_root
from butfor.ports.kernels import Kernel


@pytest.fixture(scope="session")
def objects(bpf):
    """The built probes."""
    return building.objects(cache_root())


@pytest.fixture
def session(objects):
    """A session of every probe, exceptions too."""
    running = Session(objects, building.PROBES, Settings(ring_bytes=8 << 20, exceptions=True))
    assert set(running.status.probes.values()) == {"attached"}
    yield running
    running.stop()


@pytest.fixture(scope="module")
def kernel(objects):
    """An agent, driven as captures drive it."""
    with Kernel.start() as running:
        yield running


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
    """A folder from which the running interpreter can import `butfor_context`, compiled without a warning."""
    folder = tmp_path_factory.mktemp("context")
    try:
        writers.build(sys.executable, folder, extra=["-Werror"])
    except InfrastructureError as error:
        if "needs gcc" not in str(error):
            raise
        pytest.skip(str(error))
    return folder
