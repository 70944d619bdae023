"""Telemetry that a store has is investigated in place; what a bundle held is kept in a store, out of the shared folder."""

import json

import pytest

from butfor.cli.apps import run
from cli.otlp_lines import write


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("BUTFOR_CACHE", str(tmp_path / "cache"))


def verdict(folder):
    return json.loads((folder / "verdict.json").read_text())


def test_a_store_gives_the_same_answer_as_the_files_that_it_was_loaded_from(capsys, tmp_path):
    bundle, dsn = write(tmp_path / "given"), f"chdb://{tmp_path / 'telemetry'}"
    assert run(["investigate", str(bundle), "--store", dsn, "--out", str(tmp_path / "files")]) == 3
    assert "telemetry kept" in capsys.readouterr().err
    assert run(["investigate", "--store", dsn, "--out", str(tmp_path / "stored")]) == 3
    first, second = verdict(tmp_path / "files"), verdict(tmp_path / "stored")
    for key in ("predicate", "population", "divergence", "slice", "raised_in"):
        assert first[key] == second[key]
    assert run(["investigate", "--store", dsn, "--trace", f"{42:032x}", "--out", str(tmp_path / "trace")]) == 3
    assert verdict(tmp_path / "trace")["predicate"] == first["predicate"]
    assert run(["investigate", "--store", dsn, "--trace", "ab" * 16, "--out", str(tmp_path / "none")]) == 2
    assert "no trace" in capsys.readouterr().err
    assert run(["investigate", "--store", dsn, "--minutes", "0.1", "--trace", f"{1:032x}"]) in {2, 3}


def test_what_a_bundle_held_is_kept_where_only_its_owner_reads_it(capsys, tmp_path):
    from butfor.investigating.storing import kept_dsn
    from butfor.ports.stores import open_store

    out = tmp_path / "answer"
    assert run(["investigate", str(write(tmp_path / "given")), "--out", str(out)]) == 3
    assert {path.name for path in out.iterdir()} == {"verdict.json", "report.html", "README.txt"}
    folder = tmp_path / "cache" / "stores"
    assert folder.stat().st_mode & 0o077 == 0
    with open_store(kept_dsn(out)) as store:
        assert store.query("SELECT count() AS n FROM otel_traces").to_pylist() == [{"n": 138}]


def test_a_store_that_cannot_be_opened_is_a_note_after_the_verdict(capsys, tmp_path):
    bundle = write(tmp_path / "given")
    dsn = "clickhouse://me:hunter2@127.0.0.1:9/otel"
    assert run(["investigate", str(bundle), "--store", dsn, "--out", str(tmp_path / "answer")]) == 3
    said = capsys.readouterr()
    assert "was not kept" in said.err
    assert "hunter2" not in said.err + said.out
    assert run(["investigate", "--store", dsn, "--out", str(tmp_path / "other")]) == 2
    said = capsys.readouterr()
    assert len(said.err.strip().splitlines()) == 1
    assert "hunter2" not in said.err


def test_an_empty_store_and_no_question_at_all_are_one_line(capsys, tmp_path):
    assert run(["investigate", "--store", f"chdb://{tmp_path / 'nothing'}"]) == 2
    assert "otel_traces" in capsys.readouterr().err
    assert run(["investigate"]) == 2
    assert "nothing to investigate" in capsys.readouterr().err
