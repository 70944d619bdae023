"""Each way of attaching that this kernel allows brings the same events; the matrix tries the others on other kernels."""

import pytest
from butfor_agent import building
from butfor_agent.libbpf import BpfError
from butfor_agent.sessions import Session, Settings

pytestmark = pytest.mark.slow


@pytest.fixture(params=["raw_tp", "tp_btf"])
def session(objects, request):
    """A session of one way only."""
    try:
        running = Session(objects, building.PROBES, Settings(ring_bytes=8 << 20, ways=(request.param,)))
    except BpfError as error:
        pytest.skip(str(error))
    assert running.status.ways == dict.fromkeys(building.PROBES, request.param)
    yield running
    running.stop()


def test_calls_and_ends_are_told_of(watched):
    rows, _, _ = watched(
        "import os, signal, socket\n"
        "try: open('/nothing/there')\nexcept OSError: pass\n"
        "try: socket.create_connection(('127.0.0.1', 9))\nexcept OSError: pass\n"
        "os.kill(os.getpid(), signal.SIGSEGV)",
        expect=-11,
    )
    seen = {(row["kind"], row["errno"]) for row in rows}
    assert {("open", "ENOENT"), ("connect", "ECONNREFUSED"), ("exec", ""), ("exit", "")} <= seen
    assert {row["value"] for row in rows if row["kind"] == "signal"} == {11}
    assert {row["path"] for row in rows if row["kind"] == "open"} >= {"/nothing/there"}


RESET = """
import socket, struct
door = socket.socket(); door.bind(("127.0.0.1", 0)); door.listen()
client = socket.create_connection(door.getsockname()); served, _ = door.accept()
client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)); client.close()
try: served.recv(1)
except ConnectionResetError: print("reset")
"""


def test_a_close_that_is_a_reset_is_told_of_on_both_sides(watched):
    rows, _, out = watched(RESET)
    assert out.split() == ["reset"]
    assert {"reset_sent", "reset_received"} <= {row["kind"] for row in rows}
