"""Worktrees hold the revision and the overlay, run nothing of the repository, and never write to it."""

import contextlib
import os
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from butfor.errors import InfrastructureError, UserError
from butfor.evidence.runs import Tree
from butfor.ports.worktrees import Worktrees, git_folders, overlay


def git(folder, *arguments, **more):
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
    return subprocess.run(command, cwd=folder, env=env, check=True, capture_output=True, text=True, **more).stdout


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "app.py").write_text("x = 1\n")
    (folder / "run.sh").write_text("true\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "odd näme\n.txt").write_text("odd")
    (folder / "outside").symlink_to("/etc")
    (folder / "sub").mkdir()
    (folder / "sub" / "b.py").write_text("y = 2\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    git(folder, "tag", "v1")
    return folder


@pytest.fixture
def worktrees(source, tmp_path):
    return Worktrees(source, tmp_path / "scratch")


def snapshot(folder):
    return {str(p): (p.lstat().st_mtime_ns, p.lstat().st_size) for p in sorted(folder.rglob("*"))}


def test_holds_the_revision_with_fresh_times_and_leaves_the_repository_alone(source, worktrees, tmp_path):
    before = snapshot(source)
    start = time.time() - 2
    made = worktrees.materialize(Tree(revision="v1"), tmp_path / "tree")
    assert (made / "app.py").read_text() == "x = 1\n"
    assert (made / "odd näme\n.txt").read_text() == "odd"
    assert (made / "app.py").stat().st_mtime >= start
    worktrees.remove(made)
    assert not made.exists()
    assert snapshot(source) == before


def test_the_overlay_replaces_adds_and_deletes(worktrees, tmp_path):
    files = {"app.py": b"x = 2\n", "sub/new/c.py": b"z", "sub/b.py": None, "run.sh": b"false\n", "gone": None}
    made = worktrees.materialize(Tree(revision="v1", overlay=files), tmp_path / "tree")
    assert (made / "app.py").read_bytes() == b"x = 2\n"
    assert (made / "sub/new/c.py").read_bytes() == b"z"
    assert not (made / "sub/b.py").exists()
    assert (made / "run.sh").stat().st_mode & 0o111


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", "outside/x", ".git", "sub/.GIT/config", "", "x\0y", "sub"])
def test_an_overlay_cannot_leave_the_tree(worktrees, tmp_path, path):
    with pytest.raises(UserError, match="overlay"):
        worktrees.materialize(Tree(revision="v1", overlay={path: b"evil"}), tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
    assert not (tmp_path / "x").exists()
    assert not Path("/etc/x").exists()


@given(st.lists(st.sampled_from(["..", ".", "a", "link", "", "b.py", ".git", "/"]), min_size=1, max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80, deadline=None)
def test_whatever_the_path_nothing_outside_is_written(tmp_path, parts):
    with tempfile.TemporaryDirectory(dir=tmp_path) as name:
        top = Path(name) / "top"
        (top / "tree").mkdir(parents=True)
        (top / "other").mkdir()
        (top / "tree" / "link").symlink_to(top / "other")
        with contextlib.suppress(UserError):
            overlay(top / "tree", {"/".join(parts): b"data"})
        assert not list((top / "other").iterdir())
        assert sorted(p.name for p in top.iterdir()) == ["other", "tree"]
        assert not (top / "tree" / ".git").exists()


def test_hooks_filters_and_configuration_of_the_repository_do_not_run(source, tmp_path):
    mark = tmp_path / "ran"
    (source / ".gitattributes").write_text("*.py filter=evil\n*.sh filter=lfs\n")
    (source / ".gitmodules").write_text(f'[submodule "s"]\n path = s\n url = "ext::sh -c touch% {mark}"\n')
    git(source, "add", ".")
    git(source, "commit", "-qm", "evil")
    for hook in ("post-checkout", "post-index-change", "reference-transaction"):
        script = source / ".git" / "hooks" / hook
        script.parent.mkdir(exist_ok=True)
        script.write_text(f"#!/bin/sh\ntouch {mark}\n")
        script.chmod(0o755)
    git(source, "-c", "core.hooksPath=/dev/null", "config", "core.fsmonitor", f"touch {mark}; false")
    git(source, "config", "filter.evil.smudge", f"touch {mark}; cat")
    git(source, "config", "filter.lfs.process", f"touch {mark}")
    mark.unlink(missing_ok=True)
    made = Worktrees(source, tmp_path / "scratch").materialize(Tree(revision="HEAD"), tmp_path / "tree")
    assert (made / "app.py").read_text() == "x = 1\n"
    assert not mark.exists()


def test_an_unknown_or_odd_revision_is_one_clear_line(worktrees, tmp_path):
    for revision in ("nonsense", "--upload-pack=x", "", "v1:app.py"):
        with pytest.raises(UserError) as caught:
            worktrees.materialize(Tree(revision=revision), tmp_path / "tree")
        assert "\n" not in str(caught.value)


def test_many_worktrees_of_one_repository_live_side_by_side(worktrees, tmp_path):
    trees = [
        worktrees.materialize(Tree(revision="v1", overlay={"app.py": b"%d" % i}), tmp_path / f"t{i}") for i in range(3)
    ]
    assert [(t / "app.py").read_bytes() for t in trees] == [b"0", b"1", b"2"]
    for tree in trees:
        worktrees.remove(tree)
    again = worktrees.materialize(Tree(revision="v1"), tmp_path / "t0")
    assert (again / "app.py").exists()


def test_git_finds_what_a_worktree_borrows(source, worktrees, tmp_path):
    made = worktrees.materialize(Tree(revision="v1"), tmp_path / "tree")
    folders = git_folders(made)
    assert worktrees.clone in folders
    assert source / ".git" / "objects" in folders
    assert git_folders(source) == []


def test_git_sees_a_clean_worktree_at_its_commit_and_forgets_it(source, worktrees, tmp_path):
    commit = git(source, "rev-parse", "v1").strip()
    made = worktrees.materialize(Tree(revision=commit), tmp_path / "tree")
    assert git(made, "rev-parse", "HEAD").strip() == commit
    assert git(made, "status", "--porcelain") == ""
    assert git(made, "describe", "--tags", "HEAD").strip() == "v1"
    assert str(made) in git(worktrees.clone, "worktree", "list")
    worktrees.remove(made)
    assert not list(worktrees.clone.glob("worktrees/*"))


def test_nothing_is_left_of_a_worktree_that_cannot_be_made(source, worktrees, tmp_path):
    with pytest.raises(UserError, match="not in"):
        worktrees.materialize(Tree(revision="1" * 40), tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("kept")
    with pytest.raises(InfrastructureError, match="not empty"):
        worktrees.materialize(Tree(revision="v1"), tmp_path / "full")
    assert (tmp_path / "full" / "mine").read_text() == "kept"
    assert not list(worktrees.clone.glob("worktrees/*"))


def test_what_was_begun_is_complete_once_it_is_finished(source, worktrees, tmp_path):
    commit = git(source, "rev-parse", "v1").strip()
    begun = worktrees.begin(Tree(revision=commit, overlay={"app.py": b"x = 2\n"}), tmp_path / "tree")
    assert git_folders(begun.path) == git_folders(begun.finish())
    assert (begun.path / "app.py").read_text() == "x = 2\n"
    assert (begun.path / "sub" / "b.py").exists()
    assert begun.finish() == begun.path


@pytest.mark.parametrize("tree", [Tree(revision="1" * 40), Tree(revision="v1", overlay={"../x": b"evil"})])
def test_what_was_begun_and_cannot_be_had_is_told_when_it_is_finished(worktrees, tmp_path, tree):
    begun = worktrees.begin(tree, tmp_path / "tree")
    with pytest.raises(UserError):
        begun.finish()
    assert not begun.path.exists()
    assert not list(worktrees.clone.glob("worktrees/*"))
