"""Real servers under injection: every event of a request is joined to that request's span, or to none; never to another."""

import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from butfor.capturing.commands import environment, free_port
from butfor.ports import writers
from butfor.ports.recordings import Recording

TRUTHS = Path(__file__).parent / "truths"
pytestmark = [pytest.mark.slow, pytest.mark.once]
PYTHON = ["python"]
SERVERS = {
    "uvicorn": [*PYTHON, "-m", "uvicorn", "asgi_truth:app", "--loop", "asyncio", "--port", "PORT", "--log-level", "error"],
    "uvloop": [*PYTHON, "-m", "uvicorn", "asgi_truth:app", "--loop", "uvloop", "--port", "PORT", "--log-level", "error"],
    "hypercorn": [*PYTHON, "-m", "hypercorn", "asgi_truth:app", "-b", "127.0.0.1:PORT"],
    "waitress": [*PYTHON, "-m", "waitress", "--listen=127.0.0.1:PORT", "wsgi_truth:app"],
    "gunicorn": [*PYTHON, "-m", "gunicorn", "-k", "gthread", "--threads", "4", "-w", "2", "-b", "127.0.0.1:PORT", "wsgi_truth:app"],
    "aiohttp": [*PYTHON, "aiohttp_truth.py", "PORT"],
    "tornado": [*PYTHON, "tornado_truth.py", "PORT"],
    "sanic": [*PYTHON, "sanic_truth.py", "PORT"],
}  # fmt: skip


@pytest.fixture
def served(kernel, tmp_path):
    """Run a server under the kernel's eyes and ask it for every name; its events and its spool."""

    def run(argv, names):
        spool, port = tmp_path / "spool", free_port()
        spool.mkdir()
        base = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        variables = environment(
            base, spool, "truth", roots=[TRUTHS], revision="", otlp="http://127.0.0.1:9", shims=tmp_path / "shims"
        )
        variables |= {"BUTFOR_CONTEXT": str(writers.built(sys.executable)), "PYTHONDONTWRITEBYTECODE": "1"}
        recording = Recording(kernel, tmp_path / "kernel")
        recording.begin()
        process = subprocess.Popen(
            ["/bin/sh", "-c", 'read _; exec "$@"', "-", *(a.replace("PORT", str(port)) for a in argv)],
            stdin=subprocess.PIPE, cwd=TRUTHS, env=variables, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
        recording.watch(process.pid)
        process.stdin.write(b"\n")
        process.stdin.close()
        try:
            ask(port, "/")
            time.sleep(0.5)  # until the agent has resolved where the process keeps its record
            threads = [threading.Thread(target=ask, args=(port, f"/?id={name}")) for name in names]
            for some in (threads[n : n + 8] for n in range(0, len(threads), 8)):
                for one in some:
                    one.start()
                for one in some:
                    one.join()
            time.sleep(0.3)
        finally:
            os.killpg(process.pid, 9)
            process.wait()
        found = recording.end(services_only=True)
        assert (found.reason, found.losses) == ("", [])
        rows = pa.ipc.open_stream((found.folder / "kernel.arrow").read_bytes()).read_all().to_pylist()
        return [row for row in rows if row["path"].startswith("/nowhere/")], spool

    return run


def ask(port, target):
    for _ in range(300):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{target}", timeout=10) as answer:
                return answer.read()
        except OSError:
            time.sleep(0.1)
    raise AssertionError("nobody listens")


def spans(spool, key="url.query"):
    """Spans by ids, with one of their attributes."""
    found = {}
    for path in [*spool.glob("spans-*.jsonl"), *spool.glob("open-*.jsonl")]:
        for line in path.read_text().splitlines():
            for resource in json.loads(line)["resourceSpans"]:
                for span in (span for scope in resource["scopeSpans"] for span in scope["spans"]):
                    facts = {fact["key"]: next(iter(fact["value"].values())) for fact in span["attributes"]}
                    found[span["traceId"] + span["spanId"]] = str(facts.get(key, "")).removeprefix("id=")
    return found


@pytest.mark.parametrize("server", sorted(SERVERS))
def test_every_event_of_a_request_is_joined_to_its_span(server, served):
    names = [f"request-{number}" for number in range(40)]
    events, spool = served(SERVERS[server], names)
    known = spans(spool)
    seen = Counter()
    for row in events:
        _, _, name, step = row["path"].split("/")
        joined = known.get(row["trace_id"] + row["span_id"], "unknown") if row["join"] == "thread" else None
        seen["none" if joined is None else "right" if joined == name else f"wrong {name}/{step}: {joined}"] += 1
    assert set(seen) == {"right"}
    assert seen["right"] >= 3 * len(names)


def test_a_service_that_traces_itself_is_joined_to_its_own_spans_and_not_to_its_clients(served):
    events, _ = served([*PYTHON, "traced_truth.py", "PORT"], [f"request-{number}" for number in range(16)])
    assert len(events) == 6 * 16
    wrong = [
        (row["path"], row["trace_id"] + row["span_id"])
        for row in events
        if row["path"].rpartition("/")[2] != row["trace_id"] + row["span_id"]
    ]
    assert wrong == []


def test_what_a_database_meets_is_joined_to_the_statement_it_meets_it_in(served):
    names = [f"request-{number}" for number in range(8)]
    events, spool = served([*PYTHON, "sqlite_truth.py", "PORT"], names)
    texts, requests = spans(spool, "db.query.text"), spans(spool)
    assert len(events) == 6 * len(names)
    for row in events:
        _, _, name, step = row["path"].split("/")
        ids = row["trace_id"] + row["span_id"]
        assert row["join"] == "thread"
        if step in ("before", "after"):
            assert (texts[ids], requests[ids]) == ("", name)
        else:
            assert f"fail('{name}', '{step}')" in texts[ids]


KEPT = """
import asyncio, socket, struct, threading, time
from butfor_inject import publishing

server = socket.create_server(("127.0.0.1", 0))

def downstream():
    peer, _ = server.accept()
    peer.recv(100); peer.sendall(b"answer"); peer.recv(100)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.close()

async def main():
    publishing.show(("1" * 32, "1" * 16))
    reader, writer = await asyncio.open_connection(*server.getsockname())
    writer.write(b"first"); await reader.read(100)
    publishing.show(("2" * 32, "2" * 16))
    writer.write(b"second")
    try: await reader.read(100)
    except ConnectionResetError: print("reset")

time.sleep(0.5)
threading.Thread(target=downstream).start()
asyncio.run(main())
"""


def test_a_kept_connection_that_breaks_is_told_of_the_span_that_used_it_last(watched, tmp_path):
    base = {**os.environ, "PATH": os.environ["PATH"]}
    variables = environment(
        base, tmp_path / "spool", "truth", roots=[], revision="", otlp="http://127.0.0.1:9", shims=tmp_path / "shims"
    )
    (tmp_path / "spool").mkdir()
    rows, _, out = watched(KEPT, environment={**variables, "BUTFOR_CONTEXT": str(writers.built(sys.executable))})
    assert out == "reset\n"
    (row,) = [row for row in rows if row["kind"] == "recv" and row["errno"] == "ECONNRESET"]
    assert (row["join"], row["span_id"]) == ("socket", "2" * 16)


CALLS = """
import asyncio, json, socket, sys, time, urllib.request
import aiohttp, httpx, requests

async def asynchronous(client, url):
    if client == "httpx-async":
        async with httpx.AsyncClient(timeout=0.4) as session: await session.get(url)
    else:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=0.4)) as session: await session.get(url)

def call(client, url):
    if client == "urllib": urllib.request.urlopen(url, timeout=0.4)
    elif client == "requests": requests.get(url, timeout=0.4)
    elif client == "httpx": httpx.get(url, timeout=0.4, trust_env=False)
    else: asyncio.run(asynchronous(client, url))

time.sleep(0.5)
silent = socket.create_server(("127.0.0.1", 0), backlog=50)
ports = {}
for client in ("urllib", "requests", "httpx", "httpx-async", "aiohttp"):
    closed = socket.create_server(("127.0.0.1", 0)); port = closed.getsockname()[1]; closed.close()
    for what, number in (("refused", port), ("silent", silent.getsockname()[1])):
        ports[f"{client} {what}"] = number
        try: call(client, f"http://127.0.0.1:{number}/{client}")
        except Exception: pass
time.sleep(0.2)
print(json.dumps(ports))
"""


def test_what_a_client_call_met_is_told_of_that_call(watched, tmp_path):
    base = {**os.environ, "PATH": os.environ["PATH"]}
    variables = environment(
        base, tmp_path / "spool", "truth", roots=[], revision="", otlp="http://127.0.0.1:9", shims=tmp_path / "shims"
    )
    (tmp_path / "spool").mkdir()
    rows, _, out = watched(CALLS, environment={**variables, "BUTFOR_CONTEXT": str(writers.built(sys.executable))})
    ports = json.loads(out)
    urls = spans(tmp_path / "spool", "url.full")
    refused = {int(row["remote"].rpartition(":")[2]): row for row in rows if row["errno"] == "ECONNREFUSED"}
    for client in ("urllib", "requests", "httpx", "httpx-async", "aiohttp"):
        row = refused[ports[f"{client} refused"]]
        assert row["join"] == "thread", client
        assert urls[row["trace_id"] + row["span_id"]] == f"http://127.0.0.1:{ports[f'{client} refused']}/{client}"
    given_up = [urls[row["trace_id"] + row["span_id"]].rpartition("/")[2] for row in rows if row["kind"] == "abandon"]
    assert sorted(given_up) == sorted(["urllib", "requests", "httpx", "httpx-async", "aiohttp"])
