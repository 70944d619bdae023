"""OTLP/JSON lines of Collectors and SDKs, and lines that are none: counted, never a crash."""

from __future__ import annotations

import base64
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from butfor.errors import UserError
from butfor.evidence.bundles import Bundle
from butfor.evidence.telemetry import LOGS, SPANS, Telemetry
from butfor.ingesting import otlp

TRACE, SPAN = "0102030405060708090a0b0c0d0e0f10", "0102030405060708"


def line(*spans: Any, service: str = "shop") -> dict[str, Any]:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "lib"}, "spans": list(spans)}]}]}


def span(**more: Any) -> dict[str, Any]:
    given = {
        "traceId": TRACE,
        "spanId": SPAN,
        "name": "GET /",
        "kind": 2,
        "startTimeUnixNano": "10",
        "endTimeUnixNano": "20",
    }
    return given | more


def read(folder: Path, *lines: Any, name: str = "spans.otlp.jsonl") -> Telemetry:
    raw = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in lines]
    (folder / name).write_bytes(b"".join(item + b"\n" for item in raw))
    return otlp.read(Bundle(path=folder, manifest=None))


def reasons(telemetry: Telemetry) -> dict[str, int]:
    return {loss.reason: loss.count for loss in telemetry.losses}


def value(telemetry: Telemetry, key: str) -> str:
    return dict(telemetry.spans["attributes"][0].as_py())[key]


def test_values_become_text_as_in_the_clickhouse_exporter(tmp_path: Path) -> None:
    attributes = [
        {"key": "text", "value": {"stringValue": "x"}},
        {"key": "whole", "value": {"intValue": "9007199254740993"}},
        {"key": "plain", "value": {"intValue": 7}},
        {"key": "real", "value": {"doubleValue": 0.25}},
        {"key": "round", "value": {"doubleValue": 3.0}},
        {"key": "truth", "value": {"boolValue": True}},
        {"key": "raw", "value": {"bytesValue": "AQI="}},
        {"key": "list", "value": {"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": "1"}]}}},
        {"key": "map", "value": {"kvlistValue": {"values": [{"key": "b", "value": {"boolValue": False}}]}}},
        {"key": "none", "value": {}},
        {"key": "text", "value": {"stringValue": "second"}},
    ]
    found = read(tmp_path, line(span(attributes=attributes)))
    assert dict(found.spans["attributes"][0].as_py()) == {
        "text": "x", "whole": "9007199254740993", "plain": "7", "real": "0.25", "round": "3", "truth": "true",
        "raw": "AQI=", "list": '["a",1]', "map": '{"b":false}', "none": "",
    }  # fmt: skip


def test_kinds_and_statuses_by_number_and_by_name(tmp_path: Path) -> None:
    spans = [
        span(kind="SPAN_KIND_CLIENT", status={"code": "STATUS_CODE_ERROR", "message": "no"}),
        span(kind=77),
        span(kind=2),
    ]
    found = read(tmp_path, line(*spans))
    assert found.spans["kind"].to_pylist() == ["CLIENT", "UNSPECIFIED", "SERVER"]
    assert found.spans["status"].to_pylist() == ["ERROR", "UNSET", "UNSET"]


def test_a_span_without_an_end_is_marked_unfinished(tmp_path: Path) -> None:
    found = read(tmp_path, line(span(endTimeUnixNano="0"), span(endTimeUnixNano=None), span()))
    assert found.spans["end_ns"].to_pylist() == [None, None, 20]
    assert value(found, "butfor.unfinished") == "true"


def test_ids_in_base64_or_upper_case_are_understood(tmp_path: Path) -> None:
    as_base64 = {k: base64.b64encode(bytes.fromhex(v)).decode() for k, v in (("traceId", TRACE), ("spanId", SPAN))}
    found = read(tmp_path, line(span(**as_base64), span(traceId=TRACE.upper())))
    assert set(found.spans["trace_id"].to_pylist()) == {TRACE}
    assert found.losses == []


def test_files_are_told_apart_by_content(tmp_path: Path) -> None:
    log = {"timeUnixNano": "5", "traceId": TRACE, "body": {"stringValue": "hi"}, "severityNumber": 17}
    logs = {"resourceLogs": [{"scopeLogs": [{"logRecords": [log, {"body": {"intValue": "3"}}]}]}]}
    found = read(tmp_path, line(span()), logs, {"resourceMetrics": []}, name="all.otlp.jsonl")
    assert found.spans.num_rows == 1
    assert found.logs["body"].to_pylist() == ["hi", "3"]
    assert found.logs["severity"].to_pylist() == ["ERROR", ""]
    assert found.logs["service"].to_pylist() == ["unknown_service"] * 2
    assert found.losses == []


def test_every_bad_line_and_record_is_counted_and_the_good_ones_stay(tmp_path: Path) -> None:
    bad = [
        b"{not json", b"[1, 2]", b"5", b'{"foreign": 1}', b"[" * 200_000, b'{"a":' * 200_000,
        line(span(traceId="xyz")), line(span(traceId="0" * 32)), line(span(startTimeUnixNano="soon")),
        line(span(startTimeUnixNano=2**64)), line(span(startTimeUnixNano=-5)), line("text"), line(span(spanId=5)),
    ]  # fmt: skip
    found = read(tmp_path, *bad, line(span()), line(span()))
    assert found.spans.num_rows == 2
    counted = reasons(found)
    assert counted["a line is no JSON"] == 3
    assert counted["a line is no OTLP/JSON object"] == 2
    assert sum(counted.values()) == len(bad)


def test_a_last_line_without_an_end_is_cut_off(tmp_path: Path) -> None:
    read(tmp_path, line(span()))
    path = tmp_path / "spans.otlp.jsonl"
    path.write_bytes(path.read_bytes() * 2 + path.read_bytes()[:40])
    found = otlp.read(Bundle(path=tmp_path, manifest=None))
    assert found.spans.num_rows == 2
    assert reasons(found) == {"the last line is cut off": 1}


def test_too_long_lines_and_too_many_spans_are_losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "MAX_LINE_BYTES", 2000)
    monkeypatch.setattr(otlp, "MAX_SPANS", 3)
    found = read(tmp_path, line(span(name="x" * 5000)), *[line(span())] * 5)
    assert found.spans.num_rows == 3
    assert reasons(found) == {"a line is longer than 2000 bytes": 1, "more than 3 records": 2}


def test_nothing_that_is_otlp_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is OTLP/JSON") as caught:
        read(tmp_path, b"PK\x03\x04", b"\x00\x01")
    assert "\n" not in str(caught.value)


def test_empty_files_are_an_empty_telemetry(tmp_path: Path) -> None:
    found = read(tmp_path)
    assert (found.spans.schema, found.logs.schema, found.spans.num_rows) == (SPANS, LOGS, 0)


def test_lone_surrogates_and_nan_do_not_stop_the_reading(tmp_path: Path) -> None:
    odd = line(span(name="\ud800", attributes=[{"key": "n", "value": {"doubleValue": math.nan}}]))
    found = read(tmp_path, odd)
    assert found.spans["name"].to_pylist() == ["?"]
    assert value(found, "n") == "NaN"


def test_payloads_are_in_time_order_and_name_no_file_elsewhere(tmp_path: Path) -> None:
    body = "a" * 64
    one = {
        "trace_id": TRACE,
        "span_id": SPAN,
        "role": "edge",
        "service": "s",
        "method": "GET",
        "target": "/",
        "start_ns": 9,
    }
    entries = [
        one | {"answer_body": body}, one | {"start_ns": 3, "request_body": "../../etc/passwd"},
        one | {"start_ns": 5, "request_body": "b" * 64}, {"role": "edge"}, 7,
    ]  # fmt: skip
    (tmp_path / "payloads").mkdir()
    (tmp_path / "payloads" / body).write_bytes(b"x")
    (tmp_path / "payloads" / "index.jsonl").write_text("\n".join(map(json.dumps, entries)) + "\n{")
    found = read(tmp_path, line(span()))
    assert [payload.start_ns for payload in found.payloads] == [3, 5, 9]
    assert [payload.request_body for payload in found.payloads] == [None] * 3
    assert [payload.request_truncated for payload in found.payloads] == [True, True, False]
    assert found.payloads[2].answer_body == body
    assert reasons(found) == {"a body's file is missing": 2, "a line is no payload": 3}


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["key", "value", "values", "stringValue", "intValue", "arrayValue", "kvlistValue", "spans",
                         "scopeSpans", "resource", "attributes", "traceId", "spanId", "events", "x"]),
        inner, max_size=4,
    ), max_leaves=12,
)  # fmt: skip


@settings(max_examples=120, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(field=st.sampled_from([*sorted(span()), "attributes", "events", "links", "status"]), odd=json_values)
def test_any_value_anywhere_in_a_span_is_a_row_or_a_loss(tmp_path: Path, field: str, odd: Any) -> None:
    found = read(tmp_path, line(span(**{field: odd})), line(span()))
    assert found.spans.num_rows + sum(reasons(found).values()) == 2
    assert found.spans.num_rows >= 1


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(odd=st.dictionaries(st.sampled_from(["resourceSpans", "resourceLogs", "scopeSpans"]), json_values, max_size=3))
def test_any_document_is_read_without_a_crash(tmp_path: Path, odd: Any) -> None:
    assert read(tmp_path, odd, line(span())).spans.num_rows >= 1
