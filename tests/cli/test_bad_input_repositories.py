"""Repositories that are dirty, shallow, hostile or lack what was named; none is ever changed."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from butfor.cli.apps import run
from cli.otlp_lines import write
from cli.small_shop import history


def fingerprint(top: Path) -> dict[str, str]:
    """Every file below with its content, mode and, for links, target."""
    found = {}
    for path in sorted(top.rglob("*")):
        content = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
        found[os.fsencode(path).decode("utf-8", "backslashreplace")] = (
            f"{path.lstat().st_mode:o} {hashlib.sha256(content).hexdigest()}"
        )
    return found


def investigated(capsys, tmp_path, repository, *options, good="v1", bad="v2"):
    """Exit code, last line on standard error, and the verdict where there is one; checks that nothing changed."""
    bundle = write(tmp_path / "given")
    before = fingerprint(repository)
    arguments = ["investigate", str(bundle), "--repo", str(repository), "--out", str(tmp_path / "answer")]
    code = run([*arguments, "--good", good, "--bad", bad, *options])
    said = capsys.readouterr()
    assert fingerprint(repository) == before
    assert "Traceback" not in said.err
    verdict = tmp_path / "answer" / "verdict.json"
    return code, said.err.strip().splitlines()[-1], json.loads(verdict.read_text()) if verdict.exists() else None


@pytest.mark.parametrize(
    ("good", "bad", "words"),
    [
        ("v0", "v2", "v0"),
        ("v1", "f" * 40, "f" * 12),
        ("--upload-pack=touch /tmp/x", "v2", "--upload-pack"),
        ("v2", "v2", "same commit"),
        ("v1", "HEAD:app.py", "HEAD:app.py"),
        ("", "v2", "--good"),
    ],
)
def test_a_revision_that_is_not_there_is_named(capsys, tmp_path, good, bad, words):
    repository, _ = history(tmp_path / "history")
    code, line, verdict = investigated(capsys, tmp_path, repository.path, good=good, bad=bad)
    assert code == 2
    assert words in line
    assert verdict is None


@pytest.mark.parametrize("kind", ["nowhere", "file", "folder"])
def test_what_is_no_repository_is_refused(capsys, tmp_path, kind):
    path = tmp_path / "history"
    if kind == "file":
        path.write_text("no")
    if kind == "folder":
        path.mkdir()
    code, line, _ = investigated(capsys, tmp_path, path)
    assert code == 2
    assert "history" in line


def test_a_dirty_repository_is_read_at_its_revisions(capsys, tmp_path):
    repository, culprit = history(tmp_path / "history")
    (repository.path / "app.py").write_text("not python at all (")
    (repository.path / "new.py").write_text("x")
    (repository.path / "staged.py").write_text("y")
    repository.git("add", "staged.py")
    (repository.path / ".git" / "index.lock").touch()
    code, _, verdict = investigated(capsys, tmp_path, repository.path)
    assert code == 3
    assert culprit in verdict["rank_before_runs"]


def test_a_shallow_repository_says_how_to_get_the_rest(capsys, tmp_path):
    full, _ = history(tmp_path / "full")
    shallow = tmp_path / "shallow"
    full.git("clone", "--quiet", "--depth", "2", f"file://{full.path}", str(shallow))
    code, line, verdict = investigated(capsys, tmp_path, shallow, bad="HEAD")
    assert code == 2
    assert "v1" in line
    assert "fetch" in line
    assert verdict is None


def test_hooks_filters_and_configuration_of_a_repository_never_run(capsys, tmp_path):
    repository, _ = history(tmp_path / "history", odd={".gitattributes": "* filter=evil diff=evil\n", "x": "1"})
    mark = tmp_path / "ran"
    for hook in ("post-checkout", "pre-commit", "reference-transaction", "post-index-change", "fsmonitor-watchman"):
        script = repository.path / ".git" / "hooks" / hook
        script.write_text(f"#!/bin/sh\ntouch {mark}\n")
        script.chmod(0o755)
    for key in ("core.fsmonitor", "filter.evil.smudge", "filter.evil.clean", "diff.evil.textconv", "core.sshCommand",
                "core.pager", "uploadpack.packObjectsHook", "diff.external"):  # fmt: skip
        repository.git("config", key, f"touch {mark}; cat")
    code, _, verdict = investigated(capsys, tmp_path, repository.path)
    assert code == 3
    assert len(verdict["rank_before_runs"]) == 6
    assert not mark.exists()


def test_huge_and_binary_files_and_odd_names_do_not_matter(capsys, tmp_path):
    odd = {
        "blob.bin": os.urandom(3_000_000), "zero.dat": bytes(1_000_000), "long.py": "x = 1\n" * 20_000,
        "line.py": "y = '" + "a" * 500_000 + "'\n", "a\nb.py": "z = 1\n", 'quo"te.py': "z = 1\n", "sp ace/é\t.py": "z = 1\n",
        "-rf.py": "z = 1\n", os.fsdecode(b"not-utf8-\xff.py"): "z = 1\n", "latin.py": b"# coding: latin-1\ns = '\xe9'\n",
        "broken.py": "def (", "bom.py": b"\xef\xbb\xbfx = 1\n", "nul.py": b"x = 1\0\n", "crlf.py": "x = 1\r\ny = 2\r\n",
        "deep.py": "x = " + "[" * 3000 + "]" * 3000 + "\n",
    }  # fmt: skip
    repository, culprit = history(tmp_path / "history", odd=odd)
    (repository.path / "link").symlink_to("/etc/passwd")
    repository.commit("Link", {})
    repository.git("tag", "--force", "v2")
    code, _, verdict = investigated(capsys, tmp_path, repository.path)
    assert code == 3
    assert culprit in verdict["rank_before_runs"]
    assert len(verdict["rank_before_runs"]) == 7


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- 7", "butfor.yaml"),
        ("name: shop", "run"),
        ("name: 'a b'\nrun: x", "name"),
        ("a: b: c", "YAML"),
        ("&a [*a]", "butfor.yaml"),
        ("!!python/object/apply:os.system ['touch /tmp/x']", "YAML"),
        ("name: shop\nrun: x\ndirectory: ../../etc", "directory"),
        ("services: []", "butfor.yaml"),
    ],
)
def test_a_service_description_that_is_none_is_refused_in_one_line(capsys, tmp_path, text, words):
    repository, _ = history(tmp_path / "history")
    repository.commit("Describe the service", {"butfor.yaml": text})
    code, line, verdict = investigated(capsys, tmp_path, repository.path, bad="HEAD")
    assert code == 2
    assert words in line
    assert verdict is None


def test_swapped_revisions_are_said_before_anything_else(capsys, tmp_path):
    repository, _ = history(tmp_path / "history")
    arguments = ["investigate", str(write(tmp_path / "given")), "--repo", str(repository.path)]
    assert run([*arguments, "--good", "v2", "--bad", "v1", "--out", str(tmp_path / "answer")]) == 2
    assert capsys.readouterr().err == "error: good (v2) is newer than bad (v1): swap them\n"
    assert not (tmp_path / "answer").exists()
