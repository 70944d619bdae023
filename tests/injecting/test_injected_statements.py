"""Database statements of a request, as client spans."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
import types
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from injected_services import SERVICES, plain

from butfor_inject import boundaries, contexts, drivers, settings, statements
from butfor_inject.exchanges import Exchange
from butfor_inject.spools import Spool


def statements_of(spool: Any, path: str) -> list[dict[str, Any]]:
    spool.settle(path)
    server = spool.span(path)
    found = [s for s in spool.spans() if s["kind"] == 3 and s["parentSpanId"] == server["spanId"]]
    assert {s["traceId"] for s in found} <= {server["traceId"]}
    return sorted(found, key=lambda s: int(s["startTimeUnixNano"]))


def texts(found: list[dict[str, Any]]) -> list[str]:
    return [s["facts"]["db.query.text"] for s in found]


def test_statements_of_requests_are_spans(start):
    service = start([sys.executable, str(SERVICES / "database_app.py"), "PORT"])
    spool = service.spool
    answers = {
        "/one-per-item": b"done", "/rows": b"['a!', 'secret-b!', 'secret-c!']", "/wrong": b"TypeError",
        "/failing": b"UNIQUE constraint failed: item.name", "/in-pool": b"(4,)",
        "/factories": b"[True, True, True, True]",
    }  # fmt: skip
    assert {path: service.get(path)[1] for path in answers} == answers

    same = statements_of(spool, "/one-per-item")
    assert texts(same) == ["SELECT name FROM item WHERE id = ?"] * 7
    assert {s["name"] for s in same} == {"SELECT item"}
    assert len({s["spanId"] for s in same}) == 7
    ends = [(int(s["startTimeUnixNano"]), int(s["endTimeUnixNano"])) for s in same]
    assert all(a <= b <= c for (a, b), (c, _) in itertools.pairwise(ends))

    rows = statements_of(spool, "/rows")
    assert [s["name"] for s in rows] == ["INSERT item", "UPDATE item", "COMMIT", "SELECT item"]
    assert [s["facts"].get("butfor.affected_rows") for s in rows] == ["2", "3", None, None]
    assert rows[0]["facts"]["db.operation.batch.size"] == "2"
    assert rows[3]["facts"]["db.response.returned_rows"] == "3"
    assert "secret-" not in json.dumps(spool.spans())

    failing = statements_of(spool, "/failing")
    failed = next(s for s in failing if s.get("status"))
    assert failed["status"] == {"code": 2, "message": "UNIQUE constraint failed: item.name"}
    assert failed["facts"]["error.type"] == "sqlite3.IntegrityError"

    assert texts(statements_of(spool, "/factories"))[:1] == ["SELECT 2"]
    assert texts(statements_of(spool, "/in-pool")) == ["SELECT 4"]
    assert texts(statements_of(spool, "/wrong")) == ["<int>"]
    assert not [s for s in spool.spans() if "CREATE TABLE" in s["facts"].get("db.query.text", "")]
    assert spool.processes()[0]["notes"] == []


def test_beyond_a_thousand_statements_are_counted(start):
    service = start([sys.executable, str(SERVICES / "database_app.py"), "PORT"])
    assert service.get("/many") == (200, b"done")
    assert len(statements_of(service.spool, "/many")) == 1000
    assert service.spool.span("/many")["facts"]["butfor.statements_not_described"] == "200"


class Driver:
    """Shaped like the cursors of drivers in Python: many is one after the other, and rows are counted."""

    description = None
    rowcount = 0

    def execute(self, query, args=None):
        self.rowcount = 1
        if query == "wrong":
            raise LookupError("no such table")
        return args

    def executemany(self, query, args):
        total = sum(len(self.execute(query, arg)) for arg in args)
        self.rowcount = len(args)
        return total


class Asynchronous:
    async def fetch(self, query, *_args):
        await asyncio.sleep(0)
        return [1, 2, query]


@pytest.fixture
def request_of(tmp_path, monkeypatch):
    """`with request() as read:` is a request; `read()` writes and returns its statements' spans."""
    monkeypatch.setattr(boundaries, "notes", {})
    spool = Spool(settings.Settings(str(tmp_path), {}))
    exchange = Exchange(spool, "GET", "/", [])
    token = contexts.current.set(exchange)

    def read() -> list[dict[str, Any]]:
        exchange.statements.write(exchange, spool)
        lines = [line for file in sorted(tmp_path.glob("spans-*")) for line in file.read_text().splitlines()]
        spans = [s for x in lines for s in json.loads(x)["resourceSpans"][0]["scopeSpans"][0]["spans"]]
        assert not boundaries.notes
        return [{**span, "facts": plain(span["attributes"])} for span in spans]

    yield exchange, read
    contexts.current.reset(token)


@pytest.fixture(scope="module")
def hooked():
    """The stand-ins, hooked once."""
    drivers.pymysql(types.SimpleNamespace(Cursor=Driver, SSCursor=type("SSCursor", (Driver,), {})))
    drivers.asyncpg(types.SimpleNamespace(Connection=Asynchronous))


def test_drivers_in_python_are_watched_once_per_call(request_of, hooked):
    _, read = request_of
    cursor = Driver()
    assert cursor.executemany("INSERT", ["ab", "c"]) == 3
    assert cursor.execute(query=b"UPDATE t SET a = 'it''s', b = E'\\'x', c = 'cut", args=(5,)) == (5,)
    with pytest.raises(LookupError):
        cursor.execute("wrong")
    assert cursor.execute("again") is None
    found = read()
    assert [(s["facts"]["db.query.text"], s["facts"].get("butfor.affected_rows")) for s in found] == [
        ("INSERT", "2"), ("UPDATE t SET a = '?', b = E'?', c = '?'", "1"), ("wrong", None), ("again", "1"),
    ]  # fmt: skip
    assert [s["facts"].get("error.type") for s in found] == [None, None, "LookupError", None]
    assert {s["facts"]["db.system.name"] for s in found} == {"mysql"}


def test_asynchronous_drivers_are_watched_until_they_have_answered(request_of, hooked):
    _, read = request_of
    assert asyncio.run(Asynchronous().fetch("SELECT 1")) == [1, 2, "SELECT 1"]
    assert [s["facts"]["db.response.returned_rows"] for s in read()] == ["3"]


def test_what_is_under_way_is_written_as_open_and_once_when_it_is_done(request_of, tmp_path):
    exchange, read = request_of
    entry = statements.begin("sqlite", "SELECT 1")
    assert read() == []
    assert len(list(tmp_path.glob("open-*"))) == 1
    entry.end_ns = entry.start_ns + 5
    assert [s["name"] for s in read()] == ["SELECT"]
    assert len(read()) == 1
    assert exchange.statements.more == 0


def test_nothing_is_noted_beside_another_tracers_statement(request_of):
    exchange, read = request_of
    exchange.foreign = types.SimpleNamespace(end_time=None, attributes={"db.statement": "SELECT 1"})
    assert statements.begin("sqlite", "SELECT 1") is None
    exchange.foreign = types.SimpleNamespace(end_time=5, attributes={"db.statement": "SELECT 1"})
    assert statements.begin("sqlite", "SELECT 1") is not None
    exchange.foreign = types.SimpleNamespace(end_time=None, attributes={"http.request.method": "GET"})
    assert statements.begin("sqlite", "SELECT 1") is not None
    exchange.finished = True
    assert statements.begin("sqlite", "SELECT 1") is None
    assert read() == []


@pytest.mark.parametrize(("words", "name"), [
    ("select * from item where id = 1", "SELECT item"), ("  -- why\n INSERT INTO `a b` VALUES (1)", "INSERT a"),
    ('CREATE TABLE IF NOT EXISTS "t" (a)', "CREATE t"), ("pragma foreign_keys", "PRAGMA"), ("", "sqlite"),
    ("/* a */ UPDATE ONLY public.item SET a = 1", "UPDATE public.item"),
])  # fmt: skip
def test_names_say_what_is_done_to_what(request_of, words, name):
    _, read = request_of
    entry = statements.begin("sqlite", words)
    entry.end_ns = entry.start_ns
    assert [span["name"] for span in read()] == [name]


@given(st.text(), st.sampled_from(["sqlite", "mysql"]))
@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_becomes_a_span(request_of, words, system):
    exchange, read = request_of
    exchange.statements = None
    entry = statements.begin(system, words)
    entry.end_ns = entry.start_ns
    span = read()[-1]
    assert span["facts"]["db.query.text"] == words.encode("utf-8", "backslashreplace").decode()
    assert span["name"]
