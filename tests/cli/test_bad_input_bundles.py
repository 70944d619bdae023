"""Bundles that are damaged, foreign or hostile: one line that says what to do, never a traceback, nothing half-written."""

import io
import json
import tarfile

import pytest
import zstandard

from butfor.cli.apps import run
from cli.otlp_lines import write

OTLP = b'{"resourceSpans": []}\n'
MANIFEST = {"schema_version": 1, "start_ns": 1, "end_ns": 2}


def archive(path, members, *, cut=None):
    """A .tar.zst of names and contents, cut off after some bytes where told so."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, content in members.items():
            if isinstance(content, tarfile.TarInfo):
                tar.addfile(content)
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    path.write_bytes(zstandard.compress(plain.getvalue())[:cut])
    return path


def link(name, target):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    return info


def refused(capsys, tmp_path, bundle, *more):
    """Run it; the exit code and the one line; nothing may be written but what a verdict needs."""
    code = run(["investigate", str(bundle), "--out", str(tmp_path / "answer"), *more])
    said = capsys.readouterr().err.strip().splitlines()
    assert "Traceback" not in "\n".join(said)
    assert not list(tmp_path.rglob(".writing-*"))
    return code, said[-1]


def file_of(tmp_path, name, content):
    (tmp_path / "given").mkdir()
    (tmp_path / "given" / name).write_bytes(content)
    return tmp_path / "given"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("readme.txt", b"hello", "not a bundle"),
        ("manifest.json", b"{", "not JSON"),
        ("manifest.json", b"[" * 100_000, "not JSON"),
        ("manifest.json", b'{"schema_version": 99, "start_ns": 1, "end_ns": 2}', "upgrade"),
        ("manifest.json", b'{"start_ns": "soon"}', "start_ns"),
        ("manifest.json", b"\xff\xfe\x00", "not JSON"),
        ("spans.otlp.jsonl", b"\x00\x01\x02", "OTLP"),
        ("spans.otlp.jsonl", b'{"foo": 1}\n[]\n7\n', "OTLP"),
    ],
)
def test_a_folder_that_is_no_bundle_is_refused_in_one_line(capsys, tmp_path, name, content, words):
    code, line = refused(capsys, tmp_path, file_of(tmp_path, name, content))
    assert code == 2
    assert words in line
    assert not (tmp_path / "answer" / "verdict.json").exists()


@pytest.mark.parametrize(
    ("members", "cut", "words"),
    [
        ({"spans.otlp.jsonl": OTLP * 500}, 40, "damaged or cut off"),
        ({"../evil.otlp.jsonl": OTLP}, None, "which no bundle has"),
        ({"/etc/evil.otlp.jsonl": OTLP}, None, "which no bundle has"),
        ({"spans.otlp.jsonl": link("spans.otlp.jsonl", "/etc/passwd")}, None, "which no bundle has"),
        ({"a/b/c/d.jsonl": OTLP}, None, "which no bundle has"),
        ({}, None, "is empty"),
    ],
)
def test_an_archive_that_is_no_bundle_is_refused_and_nothing_is_unpacked(capsys, tmp_path, members, cut, words):
    code, line = refused(capsys, tmp_path, archive(tmp_path / "bundle.tar.zst", members, cut=cut))
    assert code == 2
    assert words in line
    assert not list(tmp_path.rglob("evil*"))


def test_other_kinds_of_files_are_refused(capsys, tmp_path):
    foreign = tmp_path / "bundle.zip"
    foreign.write_bytes(b"PK\x03\x04" + bytes(200))
    assert refused(capsys, tmp_path, foreign)[0] == 2
    assert refused(capsys, tmp_path, tmp_path / "not-there")[0] == 2
    (tmp_path / "empty").mkdir()
    code, line = refused(capsys, tmp_path, tmp_path / "empty")
    assert code == 2
    assert "is empty" in line


def test_malformed_records_are_losses_and_the_rest_is_read(capsys, tmp_path):
    folder = write(tmp_path / "given")
    odd = {"resourceSpans": [{"scopeSpans": [{"spans": [7, {"traceId": "zz"}, {"spanId": None}, [], {"name": {}}]}]}]}
    deep = {"resourceSpans": [{"resource": {"attributes": [{"key": "a", "value": {"arrayValue": {"values": []}}}]}}]}
    lines = [odd, deep, {"resourceSpans": 7}, {"resourceSpans": [None]}, {"resourceLogs": [{"scopeLogs": [{}, 3]}]}]
    with (folder / "more.otlp.jsonl").open("w") as file:
        file.writelines(json.dumps(one) + "\n" for one in lines)
    code, _ = refused(capsys, tmp_path, folder)
    assert code == 3
    verdict = json.loads((tmp_path / "answer" / "verdict.json").read_text())
    assert verdict["predicate"]["status"] == 500
    assert any(loss.startswith("more.otlp.jsonl") for loss in verdict["losses"])


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (["--trace", "ab" * 16], 3, "no request of trace"),
        (["--trace", f"{1:032x}"], 3, "failed"),
        (["--trace", "nonsense"], 2, "--trace"),
        (["--symptom", "route=/nowhere"], 3, "no captured failure shows the symptom"),
        (["--symptom", "status=418", "--symptom", "service=nobody"], 3, "no captured failure shows the symptom"),
        (["--symptom", "colour=blue"], 2, "key=value"),
        (["--symptom", "latency_over_ms=soon"], 2, "--symptom"),
        (["--without", "luck"], 2, "--without"),
        (["--good", "v1"], 2, "--repo"),
        (["--service", "not-there.yaml"], 2, "not-there.yaml"),
        (["--budget", "0"], 2, "--budget"),
    ],
)
def test_a_question_that_the_bundle_cannot_answer(capsys, tmp_path, options, code, words):
    got, line = refused(capsys, tmp_path, write(tmp_path / "given"), *options)
    assert got == code
    if code == 2:
        assert words in line
    else:
        assert words in json.loads((tmp_path / "answer" / "verdict.json").read_text())["reason"]


def test_the_trace_that_is_named_is_the_one_explained(capsys, tmp_path):
    folder = write(tmp_path / "given")
    code, _ = refused(capsys, tmp_path, folder, "--trace", f"{41:032x}")
    assert code == 3
    assert json.loads((tmp_path / "answer" / "verdict.json").read_text())["predicate"]["status"] == 500


def test_an_answer_folder_that_cannot_be_written_is_one_line(capsys, tmp_path):
    (tmp_path / "answer").write_text("a file")
    code, line = refused(capsys, tmp_path, write(tmp_path / "given"))
    assert code == 2
    assert "answer" in line


def test_a_bundle_with_many_odd_files_is_read_once_and_never_written(capsys, tmp_path):
    folder = write(tmp_path / "given")
    (folder / "pay loads\n").mkdir()
    (folder / "b\udcff.otlp.jsonl").write_bytes(b"\x00" * 1000)
    (folder / "dir.otlp.jsonl").mkdir()
    (folder / "fifo").symlink_to("/dev/zero")
    before = sorted((path.name, path.lstat().st_mtime_ns) for path in folder.iterdir())
    code, _ = refused(capsys, tmp_path, folder)
    assert code == 3
    assert sorted((path.name, path.lstat().st_mtime_ns) for path in folder.iterdir()) == before
