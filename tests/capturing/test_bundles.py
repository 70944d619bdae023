"""A bundle is whole or not there; what a spool lacks or forges is a counted loss."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from butfor.capturing.bundles import LOCAL_TTL_NS, remove_expired, write_bundle
from butfor.capturing.incidents import capture_play
from butfor.capturing.spools import Limits
from butfor.errors import InfrastructureError, UserError
from butfor.evidence.bundles import CapturedService, Manifest
from butfor.evidence.plays import AnswerRecord, Observation
from butfor.evidence.requests import Payload


def document(span_id: str, *, service: str = "shop", end: str | None = "2", **attributes: object) -> dict:
    span = {"traceId": "a" * 32, "spanId": span_id, "name": "GET", "kind": 2, "startTimeUnixNano": "1"}
    span["attributes"] = [
        {"key": k.replace("__", "."), "value": {"stringValue": str(v)}} for k, v in attributes.items()
    ]
    if end:
        span["endTimeUnixNano"] = end
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "x"}, "spans": [span]}]}]}


def payload(body: bytes | None, span_id: str = "b" * 16, **more: object) -> dict:
    digest = None if body is None else hashlib.sha256(body).hexdigest()
    headers = [["content-type", "application/json"]]
    return {"trace_id": "a" * 32, "span_id": span_id, "role": "server", "service": "shop", "status": 200,
            "method": "POST", "target": "/x", "start_ns": 5, "request_body": digest, "request_headers": headers, **more}  # fmt: skip


def put(spool: Path, name: str, *lines: dict | str) -> None:
    spool.mkdir(parents=True, exist_ok=True)
    text = "".join(line if isinstance(line, str) else json.dumps(line) + "\n" for line in lines)
    (spool / name).write_text(text)


def store(spool: Path, body: bytes) -> None:
    (spool / "bodies").mkdir(parents=True, exist_ok=True)
    (spool / "bodies" / hashlib.sha256(body).hexdigest()).write_bytes(body)


def bundle(spool: Path, out: Path, privacy: str = "local", **more) -> tuple[Path, Manifest]:
    spool.mkdir(exist_ok=True)
    services = more.pop("services", [CapturedService(name="shop", source_roots=["/srv/shop"])])
    path = write_bundle(spool, out, services=services, privacy=privacy, start_ns=1, end_ns=9, **more)
    if path.is_dir():
        return path, Manifest.model_validate_json((path / "manifest.json").read_text())
    return path, Manifest(start_ns=0, end_ns=0)


def spans(folder: Path) -> dict[str, dict]:
    found = {}
    for line in (folder / "spans.otlp.jsonl").read_text().splitlines():
        (span,) = json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]
        found[span["spanId"]] = span
    return found


def reasons(manifest: Manifest) -> dict[str, int]:
    return {loss.reason: loss.count for loss in manifest.losses}


def test_a_span_whose_own_tracer_did_not_deliver_it_has_ended_all_the_same(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    put(spool, "open-1-aa.jsonl", *(document(digit * 16, end=None) for digit in "123"))
    put(spool, "spans-1-aa.jsonl", document("1" * 16, end="7", told="by its tracer"))
    put(spool, "ended-1-aa.jsonl", document("1" * 16, end="8"), document("2" * 16, end="9"))
    folder, manifest = bundle(spool, tmp_path / "out")
    assert {name[0]: span.get("endTimeUnixNano") for name, span in spans(folder).items()} == {
        "1": "7", "2": "9", "3": None,
    }  # fmt: skip
    assert len((folder / "spans.otlp.jsonl").read_text().splitlines()) == 3
    assert manifest.losses == []


def test_finished_unfinished_and_facts(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    put(spool, "spans-1-aa.jsonl", document("1" * 16), document("2" * 16, butfor__edge="true"))
    put(
        spool,
        "open-1-aa.jsonl",
        document("1" * 16, end=None),
        document("3" * 16, end=None),
        document("3" * 16, end=None, n=2),
    )
    put(spool, "logs-1-aa.jsonl", {"resourceLogs": []})
    put(spool, "process-1-aa.json", {
        "service": "shop", "pid": 1, "command": ["python", "app.py"], "directory": "/srv/shop", "interpreter": "3.11",
        "flags": [], "distributions": {"flask": "3.1"}, "instrumentation": "injected", "exception_sources": ["log"],
        "notes": ["uvloop is not seen"],
    })  # fmt: skip
    folder, manifest = bundle(spool, tmp_path / "out")
    found = spans(folder)
    assert set(found) == {"1" * 16, "2" * 16, "3" * 16}
    marks = {a["key"]: a["value"] for a in found["3" * 16]["attributes"]}
    assert marks["butfor.unfinished"] == {"boolValue": True}
    assert "n" in marks  # the last line of a span tells most
    assert "endTimeUnixNano" not in found["3" * 16]
    (service,) = manifest.services
    assert (service.instrumentation, service.server_spans, service.distributions) == ("injected", 2, {"flask": "3.1"})
    assert (service.command, service.source_roots) == (["python", "app.py"], ["/srv/shop"])
    assert service.exception_sources == ["log"]
    assert "shop: uvloop is not seen" in manifest.notes
    assert manifest.losses == []


def test_a_service_seen_through_its_edge_alone_and_one_that_sends_otlp(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    put(spool, "spans-1-aa.jsonl", document("1" * 16, butfor__edge="true"), document("2" * 16, service="pay"))
    _, manifest = bundle(spool, tmp_path / "out")
    assert {s.name: s.instrumentation for s in manifest.services} == {"shop": "proxy", "pay": "otlp"}


def test_payloads_keep_the_last_record_and_their_bodies(tmp_path: Path) -> None:
    spool, body = tmp_path / "spool", b'{"a":1}'
    store(spool, body)
    put(spool, "payloads-1-aa.jsonl", payload(None, complete=False), payload(body), payload(b"gone", "c" * 16))
    folder, manifest = bundle(spool, tmp_path / "out")
    lines = (folder / "payloads" / "index.jsonl").read_text().splitlines()
    first, second = (Payload.model_validate_json(line) for line in lines)
    assert first.request_body is not None
    assert (folder / "payloads" / first.request_body).read_bytes() == body
    assert second.request_body is None
    assert [loss.where for loss in manifest.losses] == ["bodies"]


def test_local_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    store(spool, b"x")
    put(spool, "payloads-1-aa.jsonl", payload(b"x"))
    folder, _ = bundle(spool, tmp_path / "out")
    modes = {oct(p.stat().st_mode & 0o777) for p in folder.rglob("*") if p.is_file()}
    assert modes == {"0o600"}
    assert {p.stat().st_mode & 0o777 for p in (folder, folder / "payloads")} == {0o700}
    packed, _ = bundle(spool, tmp_path / "b.tar.zst")
    assert packed.stat().st_mode & 0o777 == 0o600


def test_raw_values_are_deleted_when_they_are_due(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    for name, privacy in (("a", "local"), ("b", "redacted")):
        bundle(spool, tmp_path / "out" / name / "bundle", privacy)
    assert remove_expired(tmp_path / "out", 9 + LOCAL_TTL_NS) == []
    assert remove_expired(tmp_path / "out", 10 + LOCAL_TTL_NS) == [tmp_path / "out" / "a" / "bundle"]
    assert not (tmp_path / "out" / "a" / "bundle").exists()
    assert (tmp_path / "out" / "b" / "bundle").exists()


def test_packed_bundle_holds_the_same(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    put(spool, "spans-1-aa.jsonl", document("1" * 16))
    folder, _ = bundle(spool, tmp_path / "out")
    packed, _ = bundle(spool, tmp_path / "deep" / "b.tar.zst")
    data = zstandard.ZstdDecompressor().stream_reader(packed.read_bytes()).read()
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = {m.name: archive.extractfile(m).read() for m in archive if m.isfile()}  # type: ignore[union-attr]
    assert files == {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert not list(tmp_path.rglob("*.tmp"))


def test_redacted_is_the_whole_bundle(tmp_path: Path) -> None:
    spool, secret = tmp_path / "spool", "Tr0ub4dor&3"
    body = json.dumps({"password": secret, "who": "ann@example.com"}).encode()
    store(spool, body)
    put(spool, "payloads-1-aa.jsonl", payload(body, target="/login?u=ann%40example.com"))
    put(spool, "spans-1-aa.jsonl", document("1" * 16, url__path="/login", note=f"tried {secret}"))
    put(spool, "open-1-aa.jsonl", document("2" * 16, end=None, note=f"tried {secret}"))
    put(
        spool,
        "logs-1-aa.jsonl",
        {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": secret}}]}]}]},
    )
    put(
        spool,
        "process-1-aa.json",
        {"service": "shop", "command": ["x", "--password", secret], "notes": [f"saw {secret}"]},
    )
    folder, manifest = bundle(
        spool, tmp_path / "out", "redacted", extra={"butfor.yaml": f"run: x --password {secret}\n"}
    )
    everything = b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())
    assert secret.encode() not in everything
    assert b"ann@" not in everything
    assert b"ann%40" not in everything
    assert manifest.privacy == "redacted"
    assert any("password" in note for note in manifest.notes)
    fake = json.loads(next(p for p in (folder / "payloads").iterdir() if len(p.name) == 64).read_bytes())["password"]
    assert manifest.services[0].command == ["x", "--password", fake]
    assert everything.count(json.dumps(fake)[1:-1].encode()) >= 6


def test_hostile_and_half_written_spools(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    outside = tmp_path / "outside"
    outside.write_text("secret of the host\n")
    good = json.dumps(document("1" * 16))
    put(
        spool,
        "spans-1-aa.jsonl",
        good + "\n",
        '{"resourceSpans": NaN}\n',
        "[" * 100_000 + "\n",
        "[1]\n",
        "{}\n",
        good[:40],
    )
    put(spool, "spans-3-cc.jsonl", {"resourceSpans": [{"scopeSpans": [{"spans": [1, {"kind": []}]}, 7]}, "x"]})
    put(spool, "payloads-1-aa.jsonl", {"trace_id": 1}, payload(None, request_body="../../outside"), "\x00\xff\n")
    put(spool, "process-1-aa.json", {"service": "shop", "command": [1, {}], "distributions": [], "notes": "x"})
    put(spool, "process-2-aa.json", "[]")
    (spool / "spans-2-bb.jsonl").symlink_to(outside)
    os.mkfifo(spool / "logs-1-aa.jsonl")
    (spool / "open-1-aa.jsonl").mkdir()
    (spool / "bodies").mkdir()
    (spool / "bodies" / ("c" * 64)).symlink_to(outside)
    put(spool, "payloads-2-aa.jsonl", payload(None, "d" * 16, request_body="c" * 64))
    folder, manifest = bundle(spool, tmp_path / "out")
    assert "1" * 16 in (folder / "spans.otlp.jsonl").read_text()
    assert "secret of the host" not in "".join(p.read_text() for p in folder.rglob("*") if p.is_file())
    said = reasons(manifest)
    assert said["the last line is cut off"] == 1
    assert said["a malformed line"] >= 2
    assert said["not a regular file"] >= 1
    assert said["a body's name is not a hash"] == 1
    assert any("unreadable" in reason for reason in said)


def test_sizes_are_bounded(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    put(spool, "spans-1-aa.jsonl", document("1" * 16, pad="x" * 3000), document("2" * 16), document("3" * 16))
    store(spool, b"y" * 2000)
    put(spool, "payloads-1-aa.jsonl", payload(b"y" * 2000))
    limits = Limits(line_bytes=1000, kind_bytes=3800, body_bytes=1000)
    folder, manifest = bundle(spool, tmp_path / "out", limits=limits)
    assert set(spans(folder)) == {"2" * 16}
    assert {"a line over 1000 bytes", "more than 3800 bytes", "larger than 1000 bytes"} <= set(reasons(manifest))


def test_an_earlier_bundle_is_replaced_and_nothing_else(tmp_path: Path) -> None:
    spool, out = tmp_path / "spool", tmp_path / "out"
    bundle(spool, out)
    (out / "stale").write_text("x")
    bundle(spool, out)
    assert not (out / "stale").exists()
    other = tmp_path / "home"
    other.mkdir()
    (other / "thesis").write_text("x")
    with pytest.raises(UserError, match="is no bundle"):
        bundle(spool, other)
    assert (other / "thesis").exists()
    with pytest.raises(UserError):
        bundle(spool, other / "thesis")


def test_no_half_written_bundle_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("butfor.capturing.bundles._place", full)
    with pytest.raises(InfrastructureError, match="No space left"):
        bundle(tmp_path / "spool", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["spool"]


def test_the_bundle_of_a_play(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    put(spool, "spans-1-aa.jsonl", document("1" * 16))
    answers = [
        AnswerRecord(id="a", role="healthy", status=200, start_ns=100, seconds=1),
        AnswerRecord(id="b", role="healthy", skipped="no session"),
    ]
    seen = Observation(folder=tmp_path, spool=spool, started=True, answers=answers, sandbox="bwrap")
    folder = capture_play(seen, [CapturedService(name="shop", revision="f" * 40)], tmp_path / "out", "local")
    manifest = Manifest.model_validate_json((folder / "manifest.json").read_text())
    assert (manifest.start_ns, manifest.end_ns) == (100, 1_000_000_100)
    assert (manifest.services[0].revision, manifest.losses[0].count) == ("f" * 40, 1)
    with pytest.raises(InfrastructureError, match="port taken"):
        capture_play(seen.model_copy(update={"started": False, "reason": "port taken"}), [], tmp_path / "no", "local")


def test_ready_probes_are_left_out_of_the_bundle_of_a_play(tmp_path: Path) -> None:
    spool, probe = tmp_path / "spool", "c" * 32
    ours = json.loads(json.dumps(document("2" * 16)).replace("a" * 32, probe))
    log = {"resourceLogs": [{"scopeLogs": [{"logRecords": [{"traceId": probe}, {"traceId": "a" * 32}]}]}]}
    put(spool, "spans-1-aa.jsonl", document("1" * 16), ours)
    put(spool, "open-1-aa.jsonl", ours)
    put(spool, "logs-1-aa.jsonl", log)
    put(spool, "payloads-1-aa.jsonl", payload(None), payload(None) | {"trace_id": probe})
    seen = Observation(folder=tmp_path, spool=spool, started=True, probe_traces=[probe])
    folder = capture_play(seen, [CapturedService(name="shop")], tmp_path / "out", "local")
    assert set(spans(folder)) == {"1" * 16}
    assert probe not in "".join(p.read_text() for p in folder.rglob("*.jsonl"))
    assert Manifest.model_validate_json((folder / "manifest.json").read_text()).services[0].server_spans == 1


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_in_a_spool_give_a_bundle(tmp_path: Path, data: bytes) -> None:
    spool = tmp_path / "spool"
    spool.mkdir(exist_ok=True)
    for kind in ("spans", "open", "logs", "payloads"):
        (spool / f"{kind}-1-aa.jsonl").write_bytes(data)
    for privacy in ("local", "redacted"):
        folder, _ = bundle(spool, tmp_path / "out", privacy)
        assert (folder / "manifest.json").exists()
