"""What a service shows to readers in the kernel: the span it works for, nothing without a writer, never a failure."""

from __future__ import annotations

import json
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
        return json.loads(done.stdout), "".join(notes)

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


ASKED = """
import asyncio, json, sqlite3, sys
from butfor_inject import contexts, recorders
writer = sys.modules.get("butfor_context")
exchange = recorders.recorder().begin("GET", "/", [])
seen = {}
def see(name): seen[name] = writer.shown().hex() if writer.shown() else ""
def work(connection):
    connection.create_function("see", 1, see)
    see("before")
    connection.execute("SELECT see('execute')").fetchone()
    see("between")
    connection.execute("SELECT 1, see('first') UNION ALL SELECT 2, see('read')").fetchall()
    connection.executescript("SELECT see('script');")
    try: connection.execute("SELECT broken(")
    except sqlite3.Error: see("failed")
    connection.execute("CREATE TABLE t (x)")
    connection.execute("INSERT INTO t VALUES (see('insert'))")
    with connection: see("block")
    try:
        with connection: connection.execute("DELETE FROM t"); raise KeyError
    except KeyError: see("after")
entered = contexts.enter(exchange)
work(sqlite3.connect(":memory:"))
contexts.leave(entered)
recorders.recorder().end(exchange)
print(json.dumps({"seen": seen, "ids": "".join(exchange.ids)}))
"""


def statements(spool):
    found = {}
    for path in spool.glob("spans-*.jsonl"):
        for line in path.read_text().splitlines():
            for span in json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]:
                facts = {fact["key"]: fact["value"] for fact in span["attributes"]}
                found[span["traceId"] + span["spanId"]] = facts.get("db.query.text", {}).get("stringValue", "")
    return found


def test_a_statement_shows_its_own_span_and_then_the_requests_again(run, writer, tmp_path):
    told, notes = run(ASKED, writer)
    assert "sqlite3.dbapi2:sqlite" in notes or "dbapis" in notes
    seen, known = told["seen"], statements(tmp_path / "spool")
    assert [words for words in known.values() if words in ("COMMIT", "ROLLBACK")] == ["COMMIT", "ROLLBACK"]
    assert {seen[name] for name in ("before", "between", "failed", "block", "after")} == {told["ids"]}
    assert {name: known[seen[name]] for name in ("execute", "read", "script", "insert")} == {
        "execute": "SELECT see('execute')",
        "read": "SELECT 1, see('first') UNION ALL SELECT 2, see('read')",
        "script": "SELECT see('script');",
        "insert": "INSERT INTO t VALUES (see('insert'))",
    }


LIBRARY = """
import asyncio, json, sys, types
module = types.ModuleType("LIBRARY")
seen = {}
def see(name): seen[name] = writer.shown().hex() if writer.shown() else ""
class Cursor:
    rowcount, description = -1, None
    def execute(self, words):
        see(words)
        if words == "break": raise ValueError(words)
class Connection:
    async def execute(self, words):
        await asyncio.sleep(0)
        see(words)
        if words == "break": raise ValueError(words)
class PreparedStatement:
    def get_query(self): return "prepared"
    async def fetch(self): see("prepared"); return []
from butfor_inject import contexts, drivers, recorders
writer = sys.modules.get("butfor_context")
module.Cursor = module.SSCursor = Cursor
drivers.pymysql(types.SimpleNamespace(Cursor=Cursor, SSCursor=type("SSCursor", (Cursor,), {})))
drivers.asyncpg(types.SimpleNamespace(Connection=Connection))
drivers.asyncpg_prepared(types.SimpleNamespace(PreparedStatement=PreparedStatement))
exchange = recorders.recorder().begin("GET", "/", [])
entered = contexts.enter(exchange)
Cursor().execute("synchronous")
see("between")
try: Cursor().execute("break")
except ValueError: see("failed")
async def main():
    await Connection().execute("asynchronous")
    see("awaited")
    try: await Connection().execute("break")
    except ValueError: see("failed too")
    await PreparedStatement().fetch()
    see("after")
asyncio.run(main())
contexts.leave(entered)
recorders.recorder().end(exchange)
print(json.dumps({"seen": seen, "ids": "".join(exchange.ids)}))
"""


def test_drivers_whose_classes_are_python_show_their_statements_too(run, writer, tmp_path):
    told, _ = run(LIBRARY, writer)
    seen, known = told["seen"], statements(tmp_path / "spool")
    assert {seen[name] for name in ("between", "failed", "awaited", "failed too", "after")} == {told["ids"]}
    assert {name: known.get(seen[name]) for name in ("synchronous", "asynchronous", "prepared", "break")} == {
        name: name for name in ("synchronous", "asynchronous", "prepared", "break")
    }


READ = """
import asyncio, json, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
import httpx
from butfor_inject import publishing
writer = sys.modules.get("butfor_context")
class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_): pass
    def do_GET(self):
        self.send_response(200); self.send_header("Content-Length", "4"); self.end_headers()
        self.wfile.write(b"fine")
server = HTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
url, theirs = f"http://127.0.0.1:{server.server_port}/", {"traceparent": "00-" + "c" * 32 + "-" + "d" * 16 + "-01"}
seen = {}
def told(name, before): seen[name] = [ids.hex() for ids in writer.calls[before:] if isinstance(ids, bytes)]
def read(name, headers):
    with httpx.Client(trust_env=False) as client, client.stream("GET", url, headers=headers) as answer:
        before = len(writer.calls)
        seen[name + " body"] = answer.read().decode()
        told(name, before)
async def read_later(name, headers):
    async with httpx.AsyncClient(trust_env=False) as client, client.stream("GET", url, headers=headers) as answer:
        before = len(writer.calls)
        seen[name + " body"] = (await answer.aread()).decode()
        told(name, before)
for name, headers in (("theirs", theirs), ("ours", {})):
    read(name, headers)
    asyncio.run(read_later(name + " later", headers))
print(json.dumps(seen))
"""


def test_a_call_that_another_tracer_has_a_span_for_ends_there_with_its_headers(run, writer):
    seen, _ = run(READ, writer)
    assert {seen[f"{name} body"] for name in ("theirs", "ours", "theirs later", "ours later")} == {"fine"}
    for when in ("", " later"):
        assert "c" * 32 + "d" * 16 not in seen[f"theirs{when}"]
        assert [ids for ids in seen[f"ours{when}"] if ids not in ("", "ff" * 24)]
