"""Telemetry through the embedded store and back, and the exporter's own tables read in place."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa
import pytest

from butfor.errors import InfrastructureError, UserError
from butfor.evidence.bundles import Bundle
from butfor.evidence.telemetry import LOGS, SPANS, Telemetry
from butfor.ports.stores import Store, open_store

OLD = 1_600_000_000_000_000_007


def rows(count: int, base: int = OLD) -> Telemetry:
    span = {
        "trace_id": "a" * 32, "parent_span_id": "", "name": "GET /", "kind": "SERVER", "service": "shop",
        "scope": "lib", "status": "ERROR", "status_message": "no", "attributes": [("http.route", "/"), ("é", "ü")],
        "resource": [("service.name", "shop")],
        "links": [{"trace_id": "b" * 32, "span_id": "c" * 16, "attributes": []}],
        "events": [{"time_ns": base + 1, "name": "exception", "attributes": [("exception.type", "KeyError")]},
                   {"time_ns": base + 2, "name": "log", "attributes": []}],
    }  # fmt: skip
    spans = [span | {"span_id": f"{i:016x}", "start_ns": base + i, "end_ns": base + i + 10} for i in range(count)]
    spans[0] |= {"end_ns": base - 5, "events": [], "links": []}
    spans[1] |= {"end_ns": None, "attributes": [("butfor.unfinished", "true")], "service": "payment"}
    log = {
        "time_ns": base + 3, "trace_id": "a" * 32, "span_id": "", "severity": "ERROR", "service": "shop",
        "body": "failed", "attributes": [("k", "v")], "resource": [],
    }  # fmt: skip
    bundle = Bundle(path=Path("/nowhere"), manifest=None)
    return Telemetry(bundle, pa.Table.from_pylist(spans, SPANS), pa.Table.from_pylist([log], LOGS))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    with open_store(f"chdb://{tmp_path_factory.mktemp('store')}") as opened:
        yield opened


def ordered(table: pa.Table) -> list[dict]:
    return sorted(table.to_pylist(), key=lambda row: (row["span_id"], row.get("start_ns") or 0))


def test_what_is_loaded_comes_back_the_same_even_when_it_is_old(store: Store) -> None:
    given = rows(5)
    store.load(given)
    store.load(given)
    store.command("OPTIMIZE TABLE otel_traces FINAL")
    found = store.telemetry(OLD, OLD + 1000)
    assert ordered(found.spans) == ordered(given.spans)
    assert found.logs.to_pylist() == given.logs.to_pylist()
    assert found.losses == []


def test_the_range_and_the_services_limit_what_is_read(store: Store) -> None:
    store.load(rows(5))
    assert store.telemetry(OLD + 2, OLD + 4).spans["start_ns"].to_pylist() == [OLD + 2, OLD + 3]
    assert store.telemetry(OLD, OLD + 1000, services=["payment"]).spans.num_rows == 5
    assert store.telemetry(OLD, OLD + 1000, services=["nobody"]).spans.num_rows == 0
    few = store.telemetry(OLD, OLD + 1000, limit=2)
    assert few.spans.num_rows == 2
    assert "only the first 2 rows" in few.losses[0].reason


def test_columns_are_the_exporters(store: Store) -> None:
    store.create()
    sql = "SELECT name, type FROM system.columns WHERE table = {t:String} AND default_kind = '' ORDER BY position"
    traces = store.query(sql, {"t": "otel_traces"}).to_pylist()
    assert [row["name"] for row in traces] == [
        "Timestamp", "TraceId", "SpanId", "ParentSpanId", "TraceState", "SpanName", "SpanKind", "ServiceName",
        "ResourceAttributes", "ScopeName", "ScopeVersion", "SpanAttributes", "Duration", "StatusCode", "StatusMessage",
        "Events.Timestamp", "Events.Name", "Events.Attributes",
        "Links.TraceId", "Links.SpanId", "Links.TraceState", "Links.Attributes",
    ]  # fmt: skip
    kinds = {row["name"]: row["type"] for row in traces}
    assert (kinds["Duration"], kinds["Events.Timestamp"]) == ("UInt64", "Array(DateTime64(9))")
    assert "EventName" in store.query(sql, {"t": "otel_logs"})["name"].to_pylist()


def test_tables_of_an_older_exporter_are_read_in_place(store: Store) -> None:
    store.command("CREATE DATABASE IF NOT EXISTS elder")
    store.command("USE elder")
    store.command(
        "CREATE TABLE otel_traces (Timestamp DateTime64(9), TraceId String, SpanId String, ParentSpanId String, "
        "TraceState String, SpanName LowCardinality(String), SpanKind LowCardinality(String), "
        "ServiceName LowCardinality(String), ResourceAttributes Map(LowCardinality(String), String), "
        "SpanAttributes Map(LowCardinality(String), String), Duration Int64, StatusCode LowCardinality(String), "
        "StatusMessage String, Events Nested (Timestamp DateTime64(9), Name LowCardinality(String), "
        "Attributes Map(LowCardinality(String), String)), Links Nested (TraceId String, SpanId String, "
        "TraceState String, Attributes Map(LowCardinality(String), String))) ENGINE MergeTree ORDER BY Timestamp"
    )
    store.command(
        "INSERT INTO otel_traces (Timestamp, TraceId, SpanId, SpanName, SpanKind, ServiceName, Duration, "
        "StatusCode,"
        " `Events.Timestamp`, `Events.Name`, `Events.Attributes`) VALUES "
        "(fromUnixTimestamp64Nano(1000), 'a', 'b', 'n', "
        "'SPAN_KIND_SERVER', 's', 7, 'STATUS_CODE_ERROR', "
        "[fromUnixTimestamp64Nano(1001)], ['exception'], "
        "[map('k','v')])"
    )
    try:
        found = store.telemetry(0, 2000)
    finally:
        store.command("USE default")
    span = found.spans.to_pylist()[0]
    assert (span["kind"], span["status"], span["end_ns"], span["scope"]) == ("SERVER", "ERROR", 1007, "")
    assert span["events"] == [{"time_ns": 1001, "name": "exception", "attributes": [("k", "v")]}]
    assert [loss.where for loss in found.losses] == ["otel_logs"]


def test_a_database_without_the_tables_and_a_bad_statement_are_clear(store: Store) -> None:
    store.command("CREATE DATABASE IF NOT EXISTS nothing")
    store.command("USE nothing")
    try:
        with pytest.raises(UserError, match="otel_traces"):
            store.telemetry(0, 1)
    finally:
        store.command("USE default")
    with pytest.raises(InfrastructureError) as caught:
        store.query("SELEC 1")
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_is_one_line_without_the_secret() -> None:
    with pytest.raises(UserError) as caught:
        open_store("http://user:hush@127.0.0.1:9/otel")
    assert "hush" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_twenty_thousand_spans_take_seconds(store: Store) -> None:
    base = rows(2).spans.slice(1)
    many = pa.concat_tables([base] * 1000).combine_chunks()
    telemetry = Telemetry(Bundle(path=Path("/x"), manifest=None), pa.concat_tables([many] * 20), LOGS.empty_table())
    begun = time.monotonic()
    store.load(telemetry)
    assert store.telemetry(OLD, OLD + 1000).spans.num_rows == 20_000
    assert time.monotonic() - begun < 20
