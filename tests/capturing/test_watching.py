"""Where connections make no server spans, the next door is tried, and what happens is said."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from butfor.capturing import connections
from butfor.capturing.commands import Command
from butfor.capturing.sightings import Seen, Sightings
from butfor.capturing.watching import PATIENCE_S, Watch

from .test_bundles import document, put

SERVER = """
import socket, sys, time
sock = socket.create_server(("127.0.0.1", 0))
print(sock.getsockname()[1], flush=True)
while True:
    sock.accept()
"""


@pytest.fixture
def listener() -> Iterator[tuple[int, int]]:
    """(process group, port) of a program that accepts connections below a shell."""
    command = ["bash", "-c", f"{sys.executable} -c '{SERVER}'; true"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, process_group=0) as process:
        assert process.stdout
        yield process.pid, int(process.stdout.readline())
        os.killpg(process.pid, 9)


def test_ports_and_connections_of_a_group(listener: tuple[int, int]) -> None:
    group, port = listener
    assert connections.listening_ports(group) == {port}
    assert not connections.connected({port})
    with socket.create_connection(("127.0.0.1", port)):
        assert connections.connected({port})
    assert connections.listening_ports(2**22 + 1) == set()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def watched(command: Command, spool: Path, listener: tuple[int, int], seen: Seen | None = None):
    """The advice after connections that go on for longer than patience."""
    group, port = listener
    clock = Clock()
    watch = Watch(command, spool, now=clock)
    with socket.create_connection(("127.0.0.1", port)):
        assert watch.advice(group, seen or Seen()) is None
        clock.now = PATIENCE_S + 1
        return watch.advice(group, seen or Seen())


def test_a_python_entry_that_was_never_entered_is_wrapped(tmp_path: Path, listener: tuple[int, int]) -> None:
    advice = watched(Command([sys.executable, "app.py"]), tmp_path, listener)
    assert advice is not None
    assert advice.command is not None
    assert advice.command.wrapped


def test_then_the_port_is_moved_behind_a_proxy(tmp_path: Path, listener: tuple[int, int]) -> None:
    port = listener[1]
    put(tmp_path, "process-1-aa.json", {"service": "s"})
    advice = watched(Command([sys.executable, "app.py", str(port)]), tmp_path, listener)
    assert advice is not None
    assert advice.command is not None
    assert advice.command.front == port
    assert f"proxy on port {port}" in advice.line


def test_the_python_below_a_shell_is_wrapped(tmp_path: Path, listener: tuple[int, int]) -> None:
    advice = watched(Command(["bash", "-c", "..."]), tmp_path, listener)
    assert advice is not None
    assert advice.command is not None
    assert advice.command.argv[-2:] == ["-c", SERVER]
    assert advice.command.environment["PATH"] == os.environ["PATH"]
    assert advice.command.directory == Path.cwd()


def test_behind_a_proxy_only_its_requests_count(tmp_path: Path, listener: tuple[int, int]) -> None:
    put(tmp_path, "process-1-aa.json", {"service": "s"})
    seen = Seen()
    assert watched(Command(["serve"], port=1, front=2), tmp_path, listener, seen) is None
    seen.edge["s"] = 1
    advice = watched(Command(["serve"], port=1, front=2), tmp_path, listener, seen)
    assert advice is not None
    assert advice.command is None
    assert "proxy's record stands alone" in advice.line


def test_else_it_is_said_what_to_do(tmp_path: Path, listener: tuple[int, int]) -> None:
    put(tmp_path, "process-1-aa.json", {"service": "s"})
    advice = watched(Command(["serve"]), tmp_path, listener)
    assert advice is not None
    assert advice.command is None
    assert "$PORT" in advice.line


def test_nothing_is_said_where_server_spans_are_made(tmp_path: Path, listener: tuple[int, int]) -> None:
    seen = Seen()
    seen.server["s"] = 1
    assert watched(Command(["serve"]), tmp_path, listener, seen) is None


def test_sightings_follow_a_growing_spool(tmp_path: Path) -> None:
    sightings = Sightings(tmp_path)
    assert sightings.look().requests == 0
    path = tmp_path / "spans-1-aa.jsonl"
    failing = document("2" * 16, http__request__method="GET", url__path="/x", http__response__status_code="500")
    (span,) = failing["resourceSpans"][0]["scopeSpans"][0]["spans"]
    span["status"] = {"code": 2}
    span["events"] = [
        {"name": "exception", "attributes": [{"key": "exception.type", "value": {"stringValue": "KeyError"}}]}
    ]
    line = json.dumps(failing) + "\n"
    with path.open("a") as file:
        file.write(line[:50])
        file.flush()
        assert sightings.look().requests == 0
        file.write(line[50:] + "not json\n" + json.dumps(document("3" * 16)) + "\n")
    seen = sightings.look()
    assert (seen.requests, seen.failures, seen.first) == (2, 1, "GET /x -> 500")
    assert seen.exceptions == {("KeyError", "span_event"): 1}
    put(tmp_path, "open-1-aa.jsonl", document("3" * 16), document("5" * 16), document("6" * 16, butfor__edge="true"))
    assert sightings.close().unfinished == 1
    put(tmp_path, "spans-2-aa.jsonl", document("4" * 16, butfor__edge="true"))
    seen = sightings.look()
    assert (seen.requests, seen.server_spans, seen.edge.total()) == (1, 2, 1)
