"""Real OTLP bytes through real sockets into the spool, and back through a bundle."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from butfor.errors import UserError
from butfor.evidence.bundles import Bundle
from butfor.evidence.telemetry import LOGS, SPANS
from butfor.ingesting import receivers
from butfor.ingesting.otlp import read

TRACE, SPAN = bytes(range(1, 17)), bytes(range(1, 9))


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[receivers.Receiver]:
    started = receivers.start(tmp_path / "spool", 0, 0)
    yield started
    started.stop()


def traces(trace: bytes = TRACE, spans: int = 1) -> trace_service_pb2.ExportTraceServiceRequest:
    request = trace_service_pb2.ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.add(key="service.name").value.string_value = "checkout"
    scope = group.scope_spans.add()
    scope.scope.name = "lib"
    for i in range(spans):
        span = scope.spans.add(trace_id=trace, span_id=(i + 1).to_bytes(8), name="GET /", kind=2)
        span.start_time_unix_nano, span.end_time_unix_nano = 1_700_000_000_000_000_001, 1_700_000_000_500_000_003
        span.attributes.add(key="http.response.status_code").value.int_value = 500
        span.attributes.add(key="ids").value.array_value.values.add().double_value = 1.5
        span.status.code = 2
        event = span.events.add(name="exception", time_unix_nano=1_700_000_000_100_000_000)
        event.attributes.add(key="exception.type").value.string_value = "KeyError"
        span.links.add(trace_id=TRACE, span_id=SPAN)
    return request


def logs() -> logs_service_pb2.ExportLogsServiceRequest:
    request = logs_service_pb2.ExportLogsServiceRequest()
    group = request.resource_logs.add()
    group.resource.attributes.add(key="service.name").value.string_value = "checkout"
    record = group.scope_logs.add().log_records.add(trace_id=TRACE, span_id=SPAN, severity_number=17)
    record.observed_time_unix_nano = 5
    record.body.kvlist_value.values.add(key="b").value.bool_value = True
    return request


def lines(spool: Path, kind: str) -> list[dict]:
    return [json.loads(line) for path in spool.glob(f"{kind}-*.jsonl") for line in path.read_text().splitlines()]


def test_grpc_and_http_write_the_same_line(receiver: receivers.Receiver, tmp_path: Path) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{receiver.grpc_port}", compression=grpc.Compression.Gzip) as channel:
        answer = trace_service_pb2_grpc.TraceServiceStub(channel).Export(traces())
        logs_service_pb2_grpc.LogsServiceStub(channel).Export(logs())
    assert not answer.HasField("partial_success")
    base = f"http://127.0.0.1:{receiver.http_port}"
    protobuf = {"content-type": "application/x-protobuf"}
    zipped = httpx.post(
        f"{base}/v1/traces",
        content=gzip.compress(traces().SerializeToString()),
        headers=protobuf | {"content-encoding": "gzip"},
    )
    assert (zipped.status_code, zipped.headers["content-type"], zipped.content) == (200, "application/x-protobuf", b"")
    first = lines(tmp_path / "spool", "spans")[0]
    posted = httpx.post(f"{base}/v1/traces", content=json.dumps(first), headers={"content-type": "application/json"})
    assert (posted.status_code, posted.json()) == (200, {})
    written = lines(tmp_path / "spool", "spans")
    assert len(written) == 3
    assert written[0] == written[1] == written[2]
    span = written[0]["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
    assert (span["traceId"], span["kind"], span["endTimeUnixNano"]) == (TRACE.hex(), 2, "1700000000500000003")


def test_what_was_received_reads_back(receiver: receivers.Receiver, tmp_path: Path) -> None:
    base = f"http://127.0.0.1:{receiver.http_port}"
    for path, body in (
        ("traces", traces()),
        ("logs", logs()),
        ("metrics", metrics_service_pb2.ExportMetricsServiceRequest()),
    ):
        httpx.post(
            f"{base}/v1/{path}", content=body.SerializeToString(), headers={"content-type": "application/x-protobuf"}
        ).raise_for_status()
    folder = tmp_path / "bundle"
    folder.mkdir()
    for kind in ("spans", "logs"):
        text = "".join(path.read_text() for path in (tmp_path / "spool").glob(f"{kind}-*"))
        (folder / f"{kind}.otlp.jsonl").write_text(text)
    telemetry = read(Bundle(path=folder, manifest=None))
    assert telemetry.spans.schema == SPANS
    assert telemetry.logs.schema == LOGS
    span, log = telemetry.spans.to_pylist()[0], telemetry.logs.to_pylist()[0]
    assert (span["kind"], span["status"], span["service"], span["scope"]) == ("SERVER", "ERROR", "checkout", "lib")
    assert dict(span["attributes"]) == {"http.response.status_code": "500", "ids": "[1.5]"}
    assert span["events"][0]["attributes"] == [("exception.type", "KeyError")]
    assert span["links"][0]["span_id"] == SPAN.hex()
    assert (log["severity"], log["body"], log["time_ns"]) == ("ERROR", '{"b":true}', 5)
    assert telemetry.losses == []


def test_records_without_an_id_are_a_partial_success(receiver: receivers.Receiver, tmp_path: Path) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{receiver.grpc_port}") as channel:
        answer = trace_service_pb2_grpc.TraceServiceStub(channel).Export(traces(trace=b"short", spans=3))
    assert answer.partial_success.rejected_spans == 3
    span = {"traceId": "zz", "spanId": SPAN.hex(), "name": "x"}
    document = {"resourceSpans": [{"scopeSpans": [{"spans": [span, span | {"traceId": TRACE.hex()}]}]}]}
    answer = httpx.post(f"http://127.0.0.1:{receiver.http_port}/v1/traces", json=document)
    assert answer.json()["partialSuccess"]["rejectedSpans"] == "1"
    kept = [g["scopeSpans"][0].get("spans", []) for d in lines(tmp_path / "spool", "spans") for g in d["resourceSpans"]]
    assert [len(spans) for spans in kept] == [0, 1]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"\xff\xff\xff", {"content-type": "application/x-protobuf"}, 400),
        (b"{", {"content-type": "application/json"}, 400),
        (b"[]", {"content-type": "application/json"}, 400),
        (b'{"resourceSpans": 5}', {"content-type": "application/json"}, 400),
        (b"[" * 100_000, {"content-type": "application/json"}, 400),
        (b"x", {"content-type": "text/plain"}, 415),
        (b"x", {"content-type": "application/json", "content-encoding": "br"}, 415),
        (b"x", {"content-type": "application/json", "content-encoding": "gzip"}, 400),
        (gzip.compress(b"{}" * 9, mtime=0)[:-4], {"content-type": "application/json", "content-encoding": "gzip"}, 400),
    ],
)
def test_http_refuses_what_is_no_otlp(receiver: receivers.Receiver, body: bytes, headers: dict, status: int) -> None:
    answer = httpx.post(f"http://127.0.0.1:{receiver.http_port}/v1/traces", content=body, headers=headers)
    assert answer.status_code == status
    assert answer.content


def test_a_gzip_bomb_is_413(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receivers, "MAX_BODY_BYTES", 1 << 20)
    started = receivers.start(tmp_path, 0, 0)
    try:
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        url = f"http://127.0.0.1:{started.http_port}/v1/logs"
        assert httpx.post(url, content=gzip.compress(b" " * (2 << 20)), headers=headers).status_code == 413
        assert (
            httpx.post(url, content=b" " * (2 << 20), headers=headers | {"content-encoding": "identity"}).status_code
            == 413
        )
    finally:
        started.stop()


def test_other_methods_and_paths(receiver: receivers.Receiver) -> None:
    base = f"http://127.0.0.1:{receiver.http_port}"
    assert httpx.get(f"{base}/v1/traces").status_code == 405
    assert httpx.post(f"{base}/v2/traces").status_code == 404


def test_a_taken_port_is_one_clear_line(receiver: receivers.Receiver, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="OTLP/HTTP"):
        receivers.start(tmp_path / "other", 0, receiver.http_port)
    with pytest.raises(UserError, match="OTLP/gRPC"):
        receivers.start(tmp_path / "other", receiver.grpc_port, 0)


def test_a_full_disk_asks_the_client_to_try_again(
    receiver: receivers.Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(receivers.Spool, "append", full)
    url = f"http://127.0.0.1:{receiver.http_port}/v1/traces"
    body, headers = traces().SerializeToString(), {"content-type": "application/x-protobuf"}
    assert httpx.post(url, content=body, headers=headers).status_code == 503
    with grpc.insecure_channel(f"127.0.0.1:{receiver.grpc_port}") as channel, pytest.raises(grpc.RpcError) as caught:
        trace_service_pb2_grpc.TraceServiceStub(channel).Export(traces())
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
