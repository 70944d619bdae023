"""A service that a signal ends: the request that it served says where Python was."""

from __future__ import annotations

import signal
import sys
import time

import pytest
from injected_services import SERVICES

from butfor.capturing.bundles import write_bundle
from butfor.correlating import correlate
from butfor.evidence.bundles import CapturedService
from butfor.ingesting import open_bundle, read

COMMANDS = {
    "wsgi": ([sys.executable, str(SERVICES / "wsgi_app.py"), "werkzeug", "PORT"], "/crashing/itself"),
    "asgi": ([sys.executable, "-m", "uvicorn", "asgi_app:app", "--port", "PORT"], "/crashing"),
}


def requests(service):
    """What a capture tells of the requests, by path."""
    folder = service.spool.folder
    roots = [CapturedService(name="behaviours", source_roots=[str(SERVICES)])]
    out = write_bundle(folder, folder.with_name("bundle"), services=roots, privacy="local", start_ns=1,
                       end_ns=time.time_ns())  # fmt: skip
    return {request.target: request for request in correlate(read(open_bundle(out))).requests}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_request_in_which_it_crashed_says_where(start, name):
    command, path = COMMANDS[name]
    service = start(command)
    assert service.get(path)[0] in ("closed", "reset")
    assert service.process.wait(20) == -signal.SIGSEGV
    found = requests(service)
    (sample,) = found[path].samples
    assert [frame.function for frame in sample.frames if frame.in_repository] == ["crashing"]
    assert sample.frames[-1].function == "string_at"
    assert not found["/"].samples


def test_a_child_that_crashes_is_told_of_the_request_that_forked_it(start):
    service = start(COMMANDS["wsgi"][0])
    assert service.get("/crashing/child") == (200, b"its child is gone")
    service.spool.settle("/crashing/child")
    found = requests(service)
    assert [s.frames[-1].function for s in found["/crashing/child"].samples] == ["string_at"]
    assert [path for path, request in found.items() if request.samples] == ["/crashing/child"]


def test_a_fault_handler_of_the_service_stays(start):
    service = start(COMMANDS["wsgi"][0], {"PYTHONFAULTHANDLER": "1"})
    assert service.get("/crashing/itself")[0] in ("closed", "reset")
    service.process.wait(20)
    assert "Segmentation fault" in service.log.read_text()
    assert not requests(service)["/crashing/itself"].samples


def test_nothing_is_written_where_nothing_crashed(start):
    service = start(COMMANDS["wsgi"][0])
    service.get("/")
    service.stop()
    assert [file.stat().st_size for file in service.spool.folder.glob("crash-*")] == [0]


def test_what_its_children_meet_is_not_its_own_and_its_file_stays(start, tmp_path):
    (tmp_path / "app.py").write_text(FORKING)
    service = start([sys.executable, str(tmp_path / "app.py"), "PORT"])
    assert service.get("/fork")[0] == 200
    service.spool.settle("/fork")
    assert not any("Fatal" in file.read_text() for file in service.spool.folder.glob("crash-*"))
    assert "Segmentation fault" in (tmp_path / "own.txt").read_text()


FORKING = """
import faulthandler, os, sys
from contextvars import Context
from wsgiref.simple_server import make_server

def crash():
    if os.fork() == 0:
        os.kill(os.getpid(), 11)
    os.wait()

def app(environ, start_response):
    if environ["PATH_INFO"] == "/fork":
        Context().run(crash)  # in no request
        faulthandler.enable(open("own.txt", "w"))
        crash()
    start_response("200 OK", [])
    return [b"ok"]

make_server("127.0.0.1", int(sys.argv[1]), app).serve_forever()
"""
