"""What a service shows to readers in the kernel: the span it works for, nothing without a writer, never a failure."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest
from injected_services import PACKAGE

WRITER = """
import contextvars
span, calls = contextvars.ContextVar("span", default=None), []
def activate(ids):
    before = span.get()
    span.set(ids)
    calls.append(ids)
    return before
def shown(): return span.get()
def install(): calls.append("install")
def publish(resource): calls.append(dict(resource))
def coverage(): return ["threads"]
"""
SERVE = """
import http.client, json, os, sys, threading
from concurrent.futures import ThreadPoolExecutor
from wsgiref.simple_server import WSGIRequestHandler, make_server
import butfor_inject.publishing as publishing
writer = sys.modules.get("butfor_context")
seen = {}
pool = ThreadPoolExecutor(1)
def now(): return writer.shown().hex() if writer and writer.shown() else ""
def application(environ, start_response):
    seen["request"], seen["pool"] = now(), pool.submit(now).result()
    start_response("200 OK", [])
    return [b"fine"]
class Quiet(WSGIRequestHandler):
    def log_message(self, *_): pass
server = make_server("127.0.0.1", 0, application, handler_class=Quiet)
def ask():
    connection = http.client.HTTPConnection(*server.server_address)
    connection.request("GET", "/", headers={"traceparent": "00-" + "c" * 32 + "-" + "d" * 16 + "-01"})
    seen["status"] = connection.getresponse().status
thread = threading.Thread(target=ask); thread.start()
server.handle_request(); thread.join(); server.server_close()
seen["after"] = now()
if (child := os.fork()) == 0: os._exit(0 if not now() else 9)
seen["child"] = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
seen["calls"] = [c.hex() if isinstance(c, bytes) else c for c in writer.calls] if writer else None
print(json.dumps(seen))
"""


@pytest.fixture
def run(tmp_path):
    def run(script, context=None):
        variables = {
            "PATH": os.environ["PATH"], "PYTHONPATH": str(PACKAGE / "site"), "BUTFOR_SPOOL": str(tmp_path / "spool"),
            "BUTFOR_SERVICE": "shop", "BUTFOR_REVISION": "0" * 40, "PYTHONWARNINGS": "ignore",
        }  # fmt: skip
        if context is not None:
            variables["BUTFOR_CONTEXT"] = str(context)
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            env=variables,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        notes = [p.read_text() for p in (tmp_path / "spool").glob("process-*.json")]
        return __import__("json").loads(done.stdout), "".join(notes)

    return run


@pytest.fixture
def writer(tmp_path):
    folder = tmp_path / "context"
    (folder / "butfor_context").mkdir(parents=True)
    (folder / "butfor_context" / "__init__.py").write_text(WRITER)
    return folder


def test_a_request_shows_its_span_in_its_threads_and_nothing_afterwards(run, writer):
    seen, notes = run(SERVE, writer)
    assert seen["status"] == 200
    assert seen["request"].startswith("c" * 32)
    assert seen["request"] != "c" * 32 + "d" * 16  # the caller's own span is another one
    assert seen["pool"] == seen["request"]
    assert (seen["after"], seen["child"]) == ("", 0)
    assert seen["calls"][:2] == ["install", {"service.name": "shop", "vcs.ref.head.revision": "0" * 40}]
    assert "butfor_context:threads" in notes


def test_what_recording_does_itself_is_shown_as_nobodys(run, writer):
    seen, _ = run(SERVE, writer)
    assert "ff" * 24 in seen["calls"]


@pytest.mark.parametrize("broken", ["raise ImportError('another ABI')", "import absent_module", "1 +"])
def test_a_writer_that_cannot_be_loaded_is_a_note_and_the_service_serves(run, writer, broken):
    (writer / "butfor_context" / "__init__.py").write_text(broken)
    seen, notes = run(SERVE, writer)
    assert (seen["status"], seen["calls"]) == (200, None)
    assert "publishing: " in notes


def test_a_folder_that_is_not_there_is_a_note_and_none_is_nothing(run, tmp_path):
    seen, notes = run(SERVE, tmp_path / "absent")
    assert (seen["status"], "publishing: " in notes) == (200, True)
    seen, _ = run(SERVE)
    assert (seen["status"], seen["calls"]) == (200, None)


def test_a_writer_that_fails_later_does_not_reach_the_service(run, writer):
    broken = WRITER.replace("    before =", "    if ids: raise ValueError('full')\n    before =")
    (writer / "butfor_context" / "__init__.py").write_text(broken)
    seen, notes = run(SERVE, writer)
    assert (seen["status"], seen["request"]) == (200, "")
    assert "publishing: ValueError: full" in notes
