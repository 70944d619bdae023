"""Bundles: what is one, what is none, and archives that lie."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
import zstandard

from butfor.errors import UserError
from butfor.ingesting import bundles, open_bundle

MANIFEST = json.dumps({"start_ns": 1, "end_ns": 2, "services": [{"name": "shop"}], "later": 1}).encode()


def archive(path: Path, members: dict[str, bytes | tarfile.TarInfo]) -> Path:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            body = b"" if isinstance(content, tarfile.TarInfo) else content
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    path.write_bytes(zstandard.compress(raw.getvalue()))
    return path


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_a_folder_with_a_manifest_lists_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(MANIFEST)
    (tmp_path / "spans.otlp.jsonl").touch()
    bundle = open_bundle(tmp_path)
    assert bundle.manifest is not None
    assert bundle.manifest.services[0].name == "shop"
    assert "logs.otlp.jsonl" in bundle.missing
    assert "spans.otlp.jsonl" not in bundle.missing


def test_a_folder_of_otlp_files_alone_is_a_bundle(tmp_path: Path) -> None:
    (tmp_path / "whatever.otlp.jsonl").touch()
    bundle = open_bundle(tmp_path)
    assert bundle.manifest is None
    assert "manifest.json" in bundle.missing


@pytest.mark.parametrize("prefix", ["", "./", "bundle/", "./bundle/"])
def test_an_archive_is_unpacked_wherever_its_top_is(tmp_path: Path, prefix: str) -> None:
    members = {f"{prefix}manifest.json": MANIFEST, f"{prefix}payloads/{'a' * 64}": b"body"}
    bundle = open_bundle(archive(tmp_path / "b.tar.zst", members))
    assert (bundle.path / "payloads" / ("a" * 64)).read_bytes() == b"body"
    assert bundle.path.parent != tmp_path


@pytest.mark.parametrize(
    "member",
    [
        {"../manifest.json": MANIFEST},
        {"/manifest.json": MANIFEST},
        {"a/b/manifest.json": MANIFEST},
        {"x": special("payloads", tarfile.SYMTYPE, "/etc")},
        {"x": special("manifest.json", tarfile.LNKTYPE, "/etc/passwd")},
        {"x": special("payloads/pipe", tarfile.FIFOTYPE)},
        {"x": special("payloads/device", tarfile.CHRTYPE)},
    ],
)
def test_members_that_lead_elsewhere_are_refused(tmp_path: Path, member: dict) -> None:
    with pytest.raises(UserError, match="which no bundle has"):
        open_bundle(archive(tmp_path / "b.tar.zst", member))


def test_an_archive_that_is_cut_off_at_any_place_is_one_line(tmp_path: Path) -> None:
    whole = archive(tmp_path / "b.tar.zst", {"manifest.json": MANIFEST, "spans.otlp.jsonl": bytes(range(256)) * 400})
    content = whole.read_bytes()
    for size in {5, len(content) // 3, len(content) // 2, len(content) - 1}:
        cut = tmp_path / f"{size}.tar.zst"
        cut.write_bytes(content[:size])
        with pytest.raises(UserError) as caught:
            open_bundle(cut)
        assert "\n" not in str(caught.value)


def test_a_bomb_is_not_unpacked_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "MAX_BYTES", 1000)
    with pytest.raises(UserError, match="unpacks to more"):
        open_bundle(archive(tmp_path / "b.tar.zst", {"manifest.json": MANIFEST, "spans.otlp.jsonl": b"x" * 2000}))
    monkeypatch.setattr(bundles, "MAX_MEMBERS", 2)
    members = {f"payloads/{i}": b"" for i in range(5)}
    with pytest.raises(UserError, match="members"):
        open_bundle(archive(tmp_path / "c.tar.zst", members))


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        (b"{", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a manifest"),
        (b'{"start_ns": "soon", "end_ns": 2}', "start_ns"),
        (b'{"start_ns": 1, "end_ns": 2, "schema_version": 99}', "schema version 99"),
        (b"\xff\xfe", "not JSON"),
    ],
)
def test_a_manifest_that_is_none_is_one_line(tmp_path: Path, manifest: bytes, said: str) -> None:
    (tmp_path / "manifest.json").write_bytes(manifest)
    with pytest.raises(UserError, match=said) as caught:
        open_bundle(tmp_path)
    assert "\n" not in str(caught.value)


def test_what_is_no_bundle_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        open_bundle(tmp_path / "nowhere")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="is empty"):
        open_bundle(empty)
    (empty / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="not a bundle"):
        open_bundle(empty)
    foreign = tmp_path / "foreign.zip"
    foreign.write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match=r"not a \.tar\.zst"):
        open_bundle(foreign)
