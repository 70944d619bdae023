"""Where `butfor capture` writes to, and that it never costs an earlier bundle."""

import json
import sys
from pathlib import Path

import pytest

from butfor.cli.apps import run


def bundle(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({}))
    (folder / "spans.otlp.jsonl").write_text("what was captured\n")
    return folder


def command(folder: Path) -> list[str]:
    return ["--", sys.executable, "-c", f"open({str(folder / 'started')!r}, 'w')"]


@pytest.mark.parametrize("name", ["given", "given.tar.zst"])
def test_a_bundle_that_is_there_is_never_replaced(tmp_path, monkeypatch, capsys, name):
    monkeypatch.chdir(tmp_path)
    if name == "given":
        bundle(tmp_path / name)
    else:
        (tmp_path / name).write_bytes(b"a packed one")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert run(["capture", "--no-kernel", "--out", name, *command(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said == f"error: {name} holds a bundle; give another --out, or remove it first\n"
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_the_default_place_gets_a_number_that_is_free(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    bundle(tmp_path / "out" / "shop" / "bundle")
    bundle(tmp_path / "out" / "shop-2" / "bundle")
    assert run(["capture", "--no-kernel", "--name", "shop", *command(tmp_path)]) == 0
    said = capsys.readouterr().err
    assert "out/shop/bundle holds a bundle already: this one goes to out/shop-3/bundle" in said
    assert (tmp_path / "started").exists()
    assert (tmp_path / "out" / "shop-3" / "bundle" / "manifest.json").is_file()
    assert (tmp_path / "out" / "shop" / "bundle" / "spans.otlp.jsonl").read_text() == "what was captured\n"
