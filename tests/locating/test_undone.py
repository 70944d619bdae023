"""What is at bad as it was at good says nothing of a commit, whoever changed it in between; nor do lock files."""

from dataclasses import replace

import pytest

from butfor.evidence.graphs import CausalGraph, Slice
from butfor.locating.blocks import Parser
from butfor.locating.edits import Edit
from butfor.locating.histories import load
from butfor.locating.introductions import Introductions, Placed, undone
from butfor.locating.kinds import is_lock
from butfor.locating.rankings import locate
from butfor.locating.sources import Statement
from butfor.locating.trees import Tree

from .conftest import timelines

GOOD = "def handle(a):\n    return a\n\n\ndef other(a):\n    return a\n"
CHANGED = GOOD.replace("return a", "return a + 1", 1)


def introductions(builder, opened, good, bad) -> Introductions:
    parser = Parser()
    history = load(opened, good, bad, parser)
    return Introductions(history, Tree(opened, bad, ["app.py"], ".", parser), opened, good, bad)


def regions(found: Introductions, sha: str) -> set[str]:
    return {one.key[1] for one in found.by_commit[sha]}


def test_a_change_and_its_revert_are_forgotten(builder, opened):
    good = builder.commit("good", app_py=GOOD)
    change = builder.commit("change", app_py=CHANGED)
    back = builder.commit("revert", app_py=GOOD)
    bad = builder.commit("bad", app_py=GOOD.replace("def other(a):\n    return a", "def other(a):\n    return 2"))
    found = introductions(builder, opened, good, bad)
    assert regions(found, change) == regions(found, back) == set()
    assert regions(found, bad) == {"other"}


def test_a_change_that_was_changed_again_counts(builder, opened):
    good = builder.commit("good", app_py=GOOD)
    change = builder.commit("change", app_py=GOOD.replace("return a", "b = a\n    return b", 1))
    bad = builder.commit("again", app_py=GOOD.replace("return a", "b = a + 1\n    return b", 1))
    found = introductions(builder, opened, good, bad)
    assert "handle" in regions(found, change)
    assert "handle" in regions(found, bad)


def test_a_function_that_came_and_went_counts(builder, opened):
    good = builder.commit("good", app_py=GOOD)
    made = builder.commit("made", app_py=GOOD + "\n\ndef extra(a):\n    return a * 2\n")
    bad = builder.commit("inlined", app_py=GOOD.replace("return a", "return a * 2", 1))
    assert regions(introductions(builder, opened, good, bad), made)


def test_what_a_single_commit_added_and_removed_alike_counts():
    line = Statement.of_line(1, "a.one()")
    one = Placed("c1", 0, Edit("app.py", "f", (line,), (line,)), ("app.py", "f"), known=True)
    assert undone({one.key: [one]}) == set()
    assert undone({one.key: [one, replace(one, commit="c2")]}) == {one.key}
    assert undone({one.key: [one, replace(one, commit="c2", known=False)]}) == set()


def test_a_reverted_commit_ranks_behind_one_that_stands(builder, opened):
    good = builder.commit("good", app_py=GOOD)
    builder.commit("colour", app_py=GOOD.replace("return a", "colour = 1\n    return colour", 1))
    builder.commit("revert", app_py=GOOD)
    bad = builder.commit("stands", app_py=GOOD.replace("def other(a):\n    return a", "def other(a):\n    return 2"))
    ranking = locate(CausalGraph(), Slice(), timelines(target="/colour"), opened, good, bad)
    assert ranking.suspects[0].subject == "stands"


@pytest.mark.parametrize("path", ["uv.lock", "web/package-lock.json", "go.sum", "Cargo.lock", "a/pnpm-lock.yaml"])
def test_lock_files_have_no_statements(builder, opened, path):
    good = builder.commit_files("good", {path: "one = 1\n"})
    bad = builder.commit_files("bad", {path: 'url = "https://example.org/568"\n'})
    assert load(opened, good, bad, Parser()).edits.get(bad, []) == []
    assert is_lock(path)


@pytest.mark.parametrize("path", ["app.py", "locks.py", "pyproject.toml", "requirements.txt", "package.json"])
def test_what_people_write_is_no_lock_file(path):
    assert not is_lock(path)
