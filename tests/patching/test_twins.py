"""Commits that make a culprit's change too, and how much of it a patch puts back."""

from bisecting.histories import History
from butfor.evidence.runs import Tree
from butfor.patching import share, twins

OLD = "def handle():\n    limit = 3\n    return limit\n"
NEW = OLD.replace("limit = 3", "limit = None  # none")


def test_a_backport_on_a_merged_branch_is_a_twin_and_the_merge_is_none(tmp_path):
    history = History(tmp_path / "repo")
    good = history.commit("start", app_py=OLD, notes_py="A = 1\n")
    history.git("checkout", "-q", "-b", "stable")
    backport = history.commit("no limit (backport)", app_py=NEW.replace("    limit", "    limit "), log_py="B = 1\n")
    history.git("checkout", "-q", "main")
    history.commit("other", notes_py="A = 2\n")
    culprit = history.commit("no limit", app_py=NEW.replace("    limit", "    limit "))
    history.git("merge", "-q", "--no-edit", "-X", "ours", "stable")
    bad = history.git("rev-parse", "HEAD")
    repository = history.repository(tmp_path / "scratch")
    assert twins(repository, culprit, good, bad) == [backport]
    assert twins(repository, backport, good, bad) == []  # it does more than the other
    assert twins(repository, backport, good, bad, ["app.py"]) == [culprit]
    assert twins(repository, backport, good, bad, ["unknown.py"]) == []


def test_docs_and_tests_make_no_twins(tmp_path):
    history = History(tmp_path / "repo")
    good = history.commit("start", app_py=OLD)
    culprit = history.commit("docs", docs__a_py="A = 1\n")
    bad = history.commit("docs again", docs__b_py="A = 1\n")
    assert twins(history.repository(tmp_path / "scratch"), culprit, good, bad) == []


def test_the_share_of_a_culprit_that_a_patch_puts_back(tmp_path):
    history = History(tmp_path / "repo")
    history.commit("start", app_py=OLD)
    culprit = history.commit("two things", app_py=NEW.replace("return limit", "return limit, 1"), new_py="A = 1\n")
    repository = history.repository(tmp_path / "scratch")
    patch = Tree(revision=culprit, overlay={"app.py": OLD.replace("return limit", "return limit, 1").encode()})
    assert share(repository, patch, culprit) == (1, 3)
    whole = Tree(revision=culprit, overlay={"app.py": OLD.encode(), "new.py": None})
    assert share(repository, whole, culprit) == (3, 3)
