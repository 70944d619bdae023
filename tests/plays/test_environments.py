"""Environments are built in the sandbox, once, and a setup that fails says why and leaves nothing behind."""

import subprocess
import sys
import threading

import pytest

from butfor.errors import UserError
from butfor.evidence.plays import Plan, PlannedService
from butfor.evidence.runs import Tree
from butfor.evidence.services import ServiceDescription
from butfor.ports.environments import Environments, artifacts_of
from butfor.ports.interpreters import interpreter
from butfor.ports.plays import play
from butfor.ports.worktrees import Worktrees

pytestmark = pytest.mark.slow


@pytest.fixture
def environments(best, tmp_path):
    return Environments(tmp_path / "cache", best, sys.executable)


@pytest.fixture
def tree(tmp_path):
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "app.py").write_text("x = 1\n")
    return folder


def service(setup, **more):
    return ServiceDescription(name="shop", setup=setup, run="true", **more)


MARK = "python -c \"import sys, pathlib; pathlib.Path(sys.prefix, 'mark').open('a').write('built ')\""


def test_is_built_once_even_by_many_at_a_time(environments, tree, tmp_path):
    got = []

    def build(i):
        got.append(environments.get(service(MARK), tree, log=tmp_path / f"log-{i}"))

    threads = [threading.Thread(target=build, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.built for one in got) == [False, True]
    assert (got[0].path / "mark").read_text() == "built "
    assert got[0].path == got[1].path


def test_a_failed_setup_is_told_with_its_last_words_and_not_cached(environments, tree, tmp_path):
    broken = service("echo fetching; echo no such version >&2; exit 3")
    for _ in range(2):
        got = environments.get(broken, tree, log=tmp_path / "log")
        assert got.path is None
        assert "exit 3" in got.problem
        assert got.problem.endswith("fetching | no such version")
    assert not list((tmp_path / "cache").rglob("environment.json"))


def test_a_setup_is_not_root_sees_nothing_of_the_user_and_works_on_a_copy(environments, tree, tmp_path):
    script = f"test $(id -u) != 0; test ! -e {tmp_path}/tree; echo y > app.py; test $WORKTREE = /srv/shop/worktree"
    assert environments.get(service(script), tree, log=tmp_path / "log").path
    assert (tree / "app.py").read_text() == "x = 1\n"


def test_what_a_setup_builds_in_the_tree_is_there_in_plays_of_that_content(environments, best, tree, tmp_path):
    build = service(f"{MARK}; mkdir -p lib; cp app.py lib/built.txt", setup_each_revision=True)
    first = environments.get(build, tree, log=tmp_path / "log")
    assert [p.name for p in artifacts_of(first.path).rglob("*.txt")] == ["built.txt"]
    (tree / "app.py").write_text("x = 2\n")
    second = environments.get(build, tree, log=tmp_path / "log")
    assert second.path != first.path
    # the second build started from what the first one had
    assert (second.path / "mark").read_text() == "built built "
    planned = PlannedService(
        name="shop", worktree=tree, environment_path=second.path, run="cat lib/built.txt; exit 9", inject=False
    )
    seen = play(Plan(services=[planned]), sandbox=best, folder=tmp_path / "play")
    assert "ended (exit 9) before it was ready: x = 2" in seen.reason


def test_git_answers_in_setups_and_plays(environments, best, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for command in ("init -q", "commit -q --allow-empty -m one", "tag v1.2.3"):
        git = ["git", "-c", "user.name=t", "-c", "user.email=t@t", *command.split()]
        subprocess.run(git, cwd=source, check=True)
    worktree = Worktrees(source, tmp_path / "scratch").materialize(Tree(revision="v1.2.3"), tmp_path / "made")
    asks = service("test $(git describe --tags) = v1.2.3", setup_each_revision=True)
    got = environments.get(asks, worktree, log=tmp_path / "log")
    assert got.path, got.problem
    planned = PlannedService(
        name="shop", worktree=worktree, environment_path=got.path, run="git describe --tags; exit 9", inject=False
    )
    seen = play(Plan(services=[planned]), sandbox=best, folder=tmp_path / "play")
    assert "before it was ready: v1.2.3" in seen.reason


def test_a_python_that_is_none_is_refused_in_one_line(best, tmp_path):
    with pytest.raises(UserError, match="no usable Python"):
        Environments(tmp_path, best, "/bin/false")
    assert interpreter(sys.executable).makes_environments
