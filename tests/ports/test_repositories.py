"""Histories are read without trusting or writing the repository."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butfor.errors import UserError
from butfor.ports import diffs
from butfor.ports.repositories import Repository

ENVIRONMENT = {
    **os.environ,
    "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@localhost", "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@localhost", "GIT_CONFIG_GLOBAL": "/dev/null",
}  # fmt: skip


def git(folder, *arguments):
    return subprocess.run(
        ["git", *arguments], cwd=folder, env=ENVIRONMENT, check=True, capture_output=True, text=True
    ).stdout.strip()


def commit(folder, files, message):
    for name, content in files.items():
        path = folder / name
        if content is None:
            path.unlink()
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", message)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def history(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    return folder


def fingerprint(folder):
    digest = hashlib.sha256()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file() and not path.is_symlink():
            digest.update(str(path).encode() + path.read_bytes())
    return digest.hexdigest()


def test_a_range_is_read_with_changes_renames_and_odd_names(history):
    good = commit(history, {"a.py": "one\ntwo\nthree\n", 'ünï "q".txt': "x\n"}, "first")
    middle = commit(history, {"a.py": "one\n2\nthree\nfour\n", "blob.bin": b"\0\1\2" * 50}, "second: change")
    git(history, "mv", "a.py", "b.py")
    bad = commit(history, {'ünï "q".txt': "y\n"}, "third")
    with Repository(history) as repository:
        commits = repository.commits(good, bad)
        assert [c.sha for c in commits] == [bad, middle]
        assert commits[1].subject == "second: change"
        assert commits[1].parents == (good,)
        changed = {change.name: change for change in repository.changes(middle)}
        assert [(h.removed, h.added) for h in changed["a.py"].hunks] == [(["two"], ["2"]), ([], ["four"])]
        assert changed["blob.bin"].binary
        assert {c.name for c in repository.changes(bad)} == {"b.py", 'ünï "q".txt'}
        assert repository.renames(good, bad) == {"a.py": "b.py"}
        assert repository.show(bad, "b.py") == b"one\n2\nthree\nfour\n"
        assert repository.show(bad, "a.py") is None
        assert [line.sha for line in repository.blame(bad, "b.py")] == [good, middle, good, middle]


def test_a_merge_shows_only_what_the_merge_itself_changed(history):
    base = commit(history, {"a.py": "one\n", "b.py": "one\n"}, "base")
    git(history, "checkout", "-q", "-b", "side")
    side = commit(history, {"b.py": "side\n"}, "side")
    git(history, "checkout", "-q", "main")
    commit(history, {"a.py": "main\n"}, "main")
    git(history, "merge", "-q", "--no-ff", "-m", "merge", "side")
    (history / "a.py").write_text("evil\n")
    git(history, "commit", "-q", "-a", "--amend", "-m", "merge")
    merge = git(history, "rev-parse", "HEAD")
    with Repository(history) as repository:
        assert [change.name for change in repository.changes(merge)] == ["a.py"]
        assert set(repository.parents(merge)) > {side}
        assert repository.is_ancestor(base, merge)
        assert repository.merge_base(side, merge) == side
        assert [c.name for c in repository.range_changes(f"{base}..{merge}")[side]] == ["b.py"]


def test_three_way_merges_leave_conflicts_out(history):
    base = commit(history, {"a.py": "1\n2\n3\n4\n5\n", "b.py": "x\n", "c.py": "keep\n"}, "base")
    culprit = commit(history, {"a.py": "1\n2\n3\n4\nfive\n", "b.py": "y\n", "c.py": None}, "culprit")
    bad = commit(history, {"a.py": "one\n2\n3\n4\nfive\n", "b.py": "z\n"}, "later")
    with Repository(history) as repository:
        merged = repository.merge_files(culprit, bad, base)
    assert merged.files == {"a.py": b"one\n2\n3\n4\n5\n", "c.py": b"keep\n"}
    assert merged.conflicts == ["b.py"]


def test_nothing_of_a_hostile_repository_runs_and_nothing_is_written(history, tmp_path):
    good = commit(history, {"a.txt": "1\n", ".gitattributes": "*.txt diff=evil filter=evil\n"}, "first")
    bad = commit(history, {"a.txt": "2\n"}, "second")
    marker = tmp_path / "ran"
    for name in ("post-checkout", "reference-transaction", "pre-commit"):
        hook = history / ".git/hooks" / name
        hook.write_text(f"#!/bin/sh\ntouch {marker}\n")
        hook.chmod(0o755)
    for key in ("core.fsmonitor", "diff.evil.textconv", "diff.external", "filter.evil.smudge", "gpg.program"):
        git(history, "config", key, f"touch {marker}; cat")
    git(history, "config", "log.showSignature", "true")
    before = fingerprint(history)
    with Repository(history) as repository:
        assert repository.resolve("main") == bad
        assert len(repository.range_changes(f"{good}..{bad}")) == 1
        repository.blame(bad, "a.txt")
        repository.diff(good, bad)
        repository.merge_files(bad, bad, good)
    assert not marker.exists()
    assert fingerprint(history) == before


@pytest.mark.parametrize("revision", ["nothing", "--output=/tmp/x", "", "main:a.py", "0" * 40])
def test_what_is_no_revision_is_refused_in_one_line(history, revision):
    commit(history, {"a.py": "1\n"}, "first")
    with Repository(history) as repository, pytest.raises(UserError) as caught:
        repository.resolve(revision)
    assert "\n" not in str(caught.value)


def test_a_folder_without_history_and_a_shallow_clone_are_named(history, tmp_path):
    with pytest.raises(UserError, match="not a git repository"):
        Repository(tmp_path)
    first = commit(history, {"a.py": "1\n"}, "first")
    commit(history, {"a.py": "2\n"}, "second")
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{history}", "shallow")
    with Repository(tmp_path / "shallow") as repository:
        assert repository.is_shallow
        with pytest.raises(UserError, match="shallow"):
            repository.resolve(first)


def test_a_linked_worktree_and_a_folder_with_repo_inside_are_found(history, tmp_path):
    sha = commit(history, {"a.py": "1\n"}, "first")
    git(history, "worktree", "add", "-q", "--detach", str(tmp_path / "linked"), sha)
    git(tmp_path, "clone", "-q", "--bare", str(history), "holder/repo")
    for place in (tmp_path / "linked", tmp_path / "holder"):
        with Repository(place) as repository:
            assert repository.resolve(sha[:10]) == sha


LINES = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\n\r\0"), max_size=12), max_size=8)


@given(old=LINES, new=LINES)
def test_hunks_turn_the_old_file_into_the_new_one(tmp_path_factory, old, new):
    folder = tmp_path_factory.mktemp("hunks")
    (folder / "old").write_text("".join(line + "\n" for line in old), newline="")
    (folder / "new").write_text("".join(line + "\n" for line in new), newline="")
    text = subprocess.run(
        ["git", "diff", "--no-index", "-U0", "--no-color", "old", "new"], cwd=folder, capture_output=True, check=False
    ).stdout.decode()
    hunks = [hunk for change in diffs.parse(text) for hunk in change.hunks]
    rebuilt, taken = [], 0
    for hunk in hunks:
        start = hunk.old_start - 1 if hunk.old_len else hunk.old_start
        rebuilt += old[taken:start] + hunk.added
        assert old[start : start + hunk.old_len] == hunk.removed
        taken = start + hunk.old_len
    assert rebuilt + old[taken:] == new


def test_contents_come_from_processes_that_stay(history):
    sha = commit(history, {f"f{n}.txt": f"{n}\n" * n for n in range(20)} | {"odd\nname": "odd", "ü 'x'": "y"}, "first")
    (history / "link").symlink_to("f1.txt")
    with Repository(history) as repository:
        found = {n: repository.show(sha, f"f{n}.txt") for n in range(20)}
        one = repository._blobs._git.cat_file_all
        assert repository.show(sha, "ü 'x'") == b"y"
        assert repository._blobs._git.cat_file_all is one
        assert found == {n: (f"{n}\n" * n).encode() for n in range(20)}
        assert repository.show(sha, "odd\nname") == b"odd"
        assert repository.show(sha, "none at all") is None
        assert repository.show("nothing", "f1.txt") is None
        assert repository.show(sha, "") is None  # a tree
        assert repository.show(sha, "f3.txt") == b"3\n3\n3\n"  # still in step after all of these
        process = one.proc
    assert process is None or process.poll() is not None


def test_contents_that_are_kept_are_bounded(history, monkeypatch):
    sha = commit(history, {f"f{n}": str(n) * 1000 for n in range(30)}, "first")
    monkeypatch.setattr("butfor.ports.blobs.MAXIMUM_KEPT", 5000)
    with Repository(history) as repository:
        for n in range(30):
            assert repository.show(sha, f"f{n}") == str(n).encode() * 1000
        kept = repository._blobs._kept
        assert sum(len(v or b"") for v in kept.values()) <= 5000
        assert repository.show(sha, "f0") == b"0" * 1000
