"""Every server that part 2 of the capture names: the same behaviours seen in the same way."""

from __future__ import annotations

import json
import sys

import pytest
from injected_services import SERVICES

ASGI = {
    "uvicorn": [sys.executable, "-m", "uvicorn", "asgi_app:app", "--port", "PORT"],
    "uvicorn-workers": [sys.executable, "-m", "uvicorn", "asgi_app:app", "--port", "PORT", "--workers", "2"],
    "uvicorn-reload": [sys.executable, "-m", "uvicorn", "asgi_app:app", "--port", "PORT", "--reload"],
    "hypercorn": [sys.executable, "-m", "hypercorn", "-b", "127.0.0.1:PORT", "asgi_app:app"],
}
WSGI = {
    "werkzeug": [sys.executable, str(SERVICES / "wsgi_app.py"), "werkzeug", "PORT"],
    "wsgiref": [sys.executable, str(SERVICES / "wsgi_app.py"), "wsgiref", "PORT"],
    "gunicorn": [sys.executable, "-m", "gunicorn", "-w", "2", "-b", "127.0.0.1:PORT", "wsgi_app:app"],
    "gthread": [
        sys.executable,
        "-m",
        "gunicorn",
        "-k",
        "gthread",
        "--threads",
        "2",
        "-b",
        "127.0.0.1:PORT",
        "wsgi_app:app",
    ],
    "waitress": [sys.executable, "-m", "waitress", "--listen", "127.0.0.1:PORT", "wsgi_app:app"],
    "hypercorn": [sys.executable, "-m", "hypercorn", "-b", "127.0.0.1:PORT", "wsgi_app:app"],
}
OWN = {name: [sys.executable, str(SERVICES / f"{name}_app.py"), "PORT"] for name in ("aiohttp", "tornado", "sanic")}
COMMANDS = {
    **{f"asgi-{name}": command for name, command in ASGI.items()},
    **{f"wsgi-{name}": command for name, command in WSGI.items()},
    **OWN,
}
QUICK = {"asgi-uvicorn", "wsgi-werkzeug"}
EVERY = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in COMMANDS]


@pytest.mark.parametrize("name", EVERY)
def test_behaviours(start, name):
    service = start(COMMANDS[name])
    spool = service.spool
    assert service.ask("POST", "/", b"x" * 70_000, headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}) == (
        200,
        b"got 70000",
    )
    assert service.get("/failing/7")[0] == 500
    assert service.get("/breaking") == ("truncated", b"first")
    assert service.get("/nowhere?a=1&b=%20")[0] == 404
    assert service.get("/busy") == (200, b"slow")
    for path in ("/failing/7", "/breaking", "/nowhere", "/busy"):
        spool.settle(path)

    whole = spool.span("/", **{"http.request.method": "POST"})
    assert (whole["traceId"], whole["parentSpanId"]) == ("a" * 32, "b" * 16)
    assert whole["kind"] == 2
    assert "status" not in whole
    assert int(whole["startTimeUnixNano"]) <= int(whole["endTimeUnixNano"])
    assert whole["resource"]["service.name"] == "behaviours"
    assert whole["resource"]["vcs.ref.head.revision"] == "0" * 40
    payload = spool.payload(whole)
    assert spool.body(payload["request_body"]) == b"x" * 70_000
    assert spool.body(payload["answer_body"]) == b"got 70000"
    assert (payload["method"], payload["target"], payload["status"]) == ("POST", "/", 200)
    assert (payload["complete"], payload["ended"]) == (True, None)
    assert ("content-length", "70000") in [(k.lower(), v) for k, v in payload["request_headers"]]

    failed = spool.span("/failing/7")
    assert failed["facts"]["http.response.status_code"] == "500"
    assert failed["status"]["code"] == 2
    seen = next(e for e in spool.exceptions(failed) if e["exception.type"] == "ValueError")
    assert json.loads(seen["butfor.exception.types"]) == ["KeyError", "ValueError"]
    frame = json.loads(seen["butfor.exception.frames"])[-1]
    assert frame[0].startswith(str(SERVICES))
    assert frame[2].split(".")[-1] in ("failing", "get")
    assert "no such item" in seen["exception.stacktrace"]
    assert "KeyError: 'missing'" in seen["exception.stacktrace"]
    assert not any("butfor_inject" in f[0] for f in json.loads(seen["butfor.exception.frames"]))

    broken = spool.span("/breaking")
    assert broken["facts"]["butfor.ended"] == "truncated"
    assert broken["facts"]["error.type"] == "closed"
    assert broken["facts"]["http.response.status_code"] == "200"
    assert any(json.loads(e["butfor.exception.types"])[0] == "OSError" for e in spool.exceptions(broken))
    told = spool.payload(broken)
    assert (told["complete"], told["ended"], told["answer_bytes"]) == (False, None, 5)

    lost = spool.span("/nowhere")
    assert lost["facts"]["url.query"] == "a=1&b=%20"
    assert "status" not in lost

    stacks = spool.samples(spool.span("/busy"))
    ends = {stack.rpartition(";")[2].lower() for stack in stacks}
    assert ends & {"busy", "busy.get"}
    assert sum(count for stack, count in stacks.items() if "busy" in stack.lower()) >= 5


ROUTES = {
    "asgi-uvicorn": "/failing/{number}", "wsgi-werkzeug": "/failing/<int:number>", "aiohttp": "/failing/{number}",
    "sanic": "/failing/<number:int>",
}  # fmt: skip


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in ROUTES])
def test_routes_and_head(start, name):
    service = start(COMMANDS[name])
    service.get("/failing/7")
    service.spool.settle("/failing/7")
    assert service.spool.span("/failing/7")["facts"]["http.route"] == ROUTES[name]
    status, body = service.ask("HEAD", "/")
    assert body == b""
    if status == 200:
        service.spool.settle("/", "HEAD")
        head = service.spool.span("/", **{"http.request.method": "HEAD"})
        assert "butfor.ended" not in head["facts"]
        assert service.spool.payload(head)["answer_bytes"] == 0


def test_mounted_route(start):
    service = start(COMMANDS["asgi-uvicorn"])
    service.get("/inner/failing/7")
    service.spool.settle("/inner/failing/7")
    assert service.spool.span("/inner/failing/7")["facts"]["http.route"] == "/inner/failing/{number}"


@pytest.mark.parametrize("name", sorted(QUICK))
def test_exception_swallowed_into_an_error_page(start, name):
    """The service's own handler answers: nothing is logged, nothing escapes."""
    service = start(COMMANDS[name])
    assert service.get("/swallowing") == (500, b"an error page")
    service.spool.settle("/swallowing")
    seen = service.spool.exceptions(service.spool.span("/swallowing"))
    assert [e["exception.type"] for e in seen] == ["RuntimeError"]
    assert json.loads(seen[0]["butfor.exception.frames"])[-1][2] == "swallowing"
