"""Which process listens: found although others open and close files meanwhile."""

import os
import socket
import subprocess
from pathlib import Path

from butfor.capturing import connections


def test_a_descriptor_that_is_closed_meanwhile_hides_no_other(monkeypatch):
    number = os.open(os.devnull, os.O_RDONLY)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert number < server.fileno()
        readlink, gone = Path.readlink, f"/proc/{os.getpid()}/fd/{number}"

        def closing(path):
            if str(path) == gone:
                raise FileNotFoundError(gone)
            return readlink(path)

        monkeypatch.setattr(Path, "readlink", closing)
        group = os.getpgid(0)
        monkeypatch.setattr(connections, "members", lambda asked: [os.getpid()] if asked == group else [])
        assert connections.listener(group) == os.getpid()
    os.close(number)


def test_a_process_that_ended_has_none():
    with subprocess.Popen(["true"]) as ended:
        child = ended.pid
    assert connections.members(child) == []
    assert connections.listener(child) is None
