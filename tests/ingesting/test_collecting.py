"""What a collector kept becomes lines of the spool; what cannot be read is counted."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from butfor.ingesting.collecting import STATED, collect

JSON, PROTOBUF = "application/json", "application/x-protobuf"


def request(name: str | None = "shop") -> ExportTraceServiceRequest:
    made = ExportTraceServiceRequest()
    group = made.resource_spans.add()
    if name is not None:
        attribute = group.resource.attributes.add()
        attribute.key, attribute.value.string_value = "service.name", name
    span = group.scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = b"\xaa" * 16, b"\xbb" * 8, "GET /"
    return made


def frame(body: bytes, **facts: object) -> bytes:
    told = {"service": "shop", "signal": "traces", "content_type": PROTOBUF, "content_encoding": "identity"}
    return json.dumps({**told, "bytes": len(body), **facts}).encode() + b"\n" + body


def collected(spool: Path, data: bytes, revisions: dict[str, str] | None = None) -> tuple[list[dict], list[str]]:
    (spool / "otlp-1-aa.frames").write_bytes(data)
    losses = collect(spool, revisions or {})
    lines = [line for path in spool.glob("spans-*.jsonl") for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines], [f"{loss.count} {loss.reason}" for loss in losses]


def attributes(document: dict) -> dict[str, str]:
    found = document["resourceSpans"][0]["resource"]["attributes"]
    return {a["key"]: a["value"]["stringValue"] for a in found}


def test_encodings_of_one_request_are_one_document(tmp_path):
    plain = request().SerializeToString()
    spans = [{"traceId": "aa" * 16, "spanId": "bb" * 8, "name": "GET /"}]
    told = [{"key": "service.name", "value": {"stringValue": "shop"}}]
    text = json.dumps({"resourceSpans": [{"resource": {"attributes": told}, "scopeSpans": [{"spans": spans}]}]})
    data = frame(plain) + frame(gzip.compress(plain), content_encoding="gzip")
    documents, losses = collected(tmp_path, data + frame(text.encode(), content_type=JSON))
    assert losses == []
    assert documents[0] == documents[1] == documents[2]
    assert documents[0]["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["traceId"] == "aa" * 16


@pytest.mark.parametrize(("stated", "kept"), [("shop", None), ("checkout-api", "checkout-api"), (None, None)])
def test_a_resource_has_the_name_and_the_revision_of_the_service_that_was_started(tmp_path, stated, kept):
    (document,), _ = collected(tmp_path, frame(request(stated).SerializeToString()), {"shop": "c" * 40})
    told = attributes(document)
    assert (told["service.name"], told["vcs.ref.head.revision"], told.get(STATED)) == ("shop", "c" * 40, kept)


def test_what_is_broken_is_counted_and_the_rest_is_read(tmp_path):
    whole = frame(request().SerializeToString())
    data = frame(b"\xff\xff") + frame(b"{", content_type=JSON) + frame(b"x", signal="profiles") + whole + whole[:-3]
    documents, losses = collected(tmp_path, data)
    assert len(documents) == 1
    assert losses == [
        "1 a request of no known signal or service", "2 a request that is no OTLP", "1 a request that was kept is cut off",
    ]  # fmt: skip


@given(st.lists(st.one_of(st.binary(max_size=60), st.binary(max_size=40).map(frame))).map(b"".join))
def test_no_file_raises(data):
    with tempfile.TemporaryDirectory() as folder:
        documents, losses = collected(Path(folder), data)
        assert bool(data) <= bool(documents or losses or data.count(b'"bytes": 0'))
