"""Smallest patches: what heals, what is left out, and that real git takes them."""

import subprocess
import time

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bisecting.histories import ENVIRONMENT, FakeRunner, History, judge
from butfor.errors import UserError
from butfor.evidence.runs import Tree
from butfor.evidence.suspects import FunctionRef
from butfor.patching import counterfactual, from_diff, minimise, write_patch
from butfor.patching.candidates import PatchCandidate, _Minimising, candidate_of
from butfor.patching.ddmin import ddmin
from butfor.patching.diffs import unified
from butfor.patching.edits import Edit, apply, between, blocks, by_statement, split, transplant
from butfor.patching.trying import Healing, Tries

GOOD = """def handle():
    timeout = 500
    return call(timeout)


def other():
    return 1


def call(timeout):
    return 500 if timeout < 100 else 200
"""
BAD = GOOD.replace("timeout = 500", "# quick\n    timeout = 50").replace("return 1", "return 2")


def candidates(tmp_path, good_text, bad_text, *, after=None, healthy=""):
    history = History(tmp_path / "repo")
    good = history.commit("start", app_py=good_text + healthy)
    culprit = history.commit("culprit", app_py=bad_text + healthy, docs__x="docs\n")
    bad = history.commit("after", **after) if after else culprit
    repository = history.repository(tmp_path / "scratch")
    runner = FakeRunner(repository)
    proof = counterfactual(repository, runner, culprit, good, bad)
    return history, repository, bad, list(minimise(repository, runner, proof.healing, bad))


def test_only_the_hunk_that_heals_is_kept(tmp_path):
    _, repository, bad, found = candidates(tmp_path, GOOD, BAD)
    first = found[0]
    assert first.origin == "hunks"
    assert b"+    timeout = 500\n" in first.diff
    assert b"-    return 2" not in first.diff
    assert set(first.tree.overlay) == {"app.py"}
    assert judge(repository, first.tree, healthy=True, good=200, bad=500).judgement == "good"
    assert found[1].size < first.size
    assert first.tree.revision == bad


def test_every_candidate_is_taken_by_git_and_gives_the_same_tree(tmp_path):
    history, _, bad, found = candidates(tmp_path, GOOD, BAD)
    assert found
    for number, candidate in enumerate(found):
        path = write_patch(tmp_path / f"p{number}", candidate)
        history.git("checkout", "-q", bad)
        history.git("apply", "--check", str(path))
        history.git("apply", str(path))
        for name, content in candidate.tree.overlay.items():
            assert (history.path / name).read_bytes() == content
        history.git("checkout", "-q", "-f", bad)


def test_statements_keep_the_feature_where_the_hunk_would_not(tmp_path):
    good = "def handle():\n    code = 200\n    return code\n"
    bad = "def handle():\n    code = 500\n    extra = 1\n    return code\n"
    _, _, _, found = candidates(tmp_path, good, bad)
    lines = next(c for c in found if "statements" in c.rule)
    assert b"-    extra = 1" not in lines.diff
    assert b"+    code = 200" in lines.diff
    assert b"-    extra = 1" in found[0].diff


def test_a_healthy_request_rules_out_a_patch_that_breaks_it(tmp_path):
    healthy = "\n\ndef healthy():\n    return 200 if other() == 2 else 500\n"
    good = GOOD.replace("return 1", "return 2")
    _, _, _, found = candidates(tmp_path, good, BAD, healthy=healthy)
    assert all(b"-    return 2" not in c.diff for c in found)


TWO_GOOD = (
    "def handle():\n    if helper() < 5:\n        return 200\n    return 500\n\n\n"
    "def one():\n    return helper()\n\n\ndef two():\n    return helper()\n\n\ndef helper():\n    return 1\n"
)
TWO_BAD = TWO_GOOD.replace("< 5", "< 3").replace("    return 1\n", "    return 4\n")


def test_of_two_sets_the_more_widely_used_function_comes_first(tmp_path):
    _, _, _, found = candidates(tmp_path, TWO_GOOD, TWO_BAD)
    assert b"+    return 1" in found[0].diff
    assert b"+    if helper() < 5" in found[1].diff


@pytest.mark.parametrize("spent", [0.0, 1000.0])
def test_a_second_set_is_not_looked_for_where_the_first_took_long(tmp_path, spent):
    history = History(tmp_path / "repo")
    bad = history.commit("bad", app_py=TWO_BAD)
    repository, now = history.repository(tmp_path / "scratch"), time.monotonic()
    healing = Healing(Tree(revision=bad, overlay={"app.py": TWO_GOOD.encode()}), "revert", "")
    tries = Tries(FakeRunner(repository), 80, now + 60, started=now - spent)
    first = next(_Minimising(repository, tries, bad, (), lambda _: None).candidates(healing))
    assert ("more widely used" in first.rule) is (spent == 0)
    rules = [one.rule for one in _Minimising(repository, tries, bad, (), lambda _: None).candidates(healing)]
    assert rules.index("the whole of what healed") == (len(rules) - 1 if spent == 0 else 2)


def test_nothing_comes_of_trees_of_another_revision(tmp_path):
    history = History(tmp_path / "repo")
    bad = history.commit("start", app_py=BAD)
    repository = history.repository(tmp_path / "scratch")
    assert list(minimise(repository, FakeRunner(repository), [], bad)) == []
    empty = PatchCandidate(Tree(revision=bad), "hunks", "", b"", 0)
    with pytest.raises(UserError, match="empty"):
        write_patch(tmp_path / "out", empty)
    assert not (tmp_path / "out").exists()


@given(st.sets(st.integers(0, 30), min_size=1, max_size=4), st.integers(1, 31))
def test_ddmin_finds_exactly_what_is_needed(needed, size):
    needed = {n % size for n in needed}
    calls = []

    def test(items):
        calls.append(items)
        return "good" if needed <= set(items) else "unknown" if len(items) % 2 else "bad"

    assert set(ddmin(list(range(size)), test)) == needed
    assert len(calls) <= size * size + 3 * size + 3


texts = st.lists(st.sampled_from(["a", "b", "", "  c", "é", "d\r"]), max_size=14).map(lambda p: "\n".join(p).encode())


@given(texts, texts)
def test_edits_make_the_new_text(old, new):
    assert apply(old, between("p", old, new)) == new
    assert b"".join(split(old)) == old


@given(texts, texts)
def test_edits_cut_to_statements_are_the_same_together(old, new):
    lines = split(old)
    cut = [part for e in between("p", old, new) for part in by_statement(e, lines[e.start : e.end])]
    assert apply(old, cut) == new


@given(texts, texts)
def test_a_transplant_into_the_same_text_is_the_edit(old, new):
    edits = between("p", old, new)
    placed = transplant(old, old, edits)
    assert placed.conflicts == []
    assert apply(old, placed.edits) == new


@given(texts, texts, texts)
def test_a_transplant_never_overlaps(base, new, ours):
    placed = transplant(base, ours, between("p", base, new))
    apply(ours, placed.edits)


@given(texts, texts)
def test_edits_shifted_by_lines_above_find_their_place(old, new):
    assume(old)
    edits = between("p", old, new)
    placed = transplant(old, b"X\nY\nZ\n" + old, edits)
    assert placed.conflicts == []
    assert apply(b"X\nY\nZ\n" + old, placed.edits) == b"X\nY\nZ\n" + new


def test_a_statement_keeps_its_body():
    text = b"    # why\n    elif x:\n        a(\n            1,\n        )\n\n    b(\n        2,\n    )\n    c()\n"
    assert [text.split(b"\n")[start].strip() for start, _ in blocks(split(text))] == [b"# why", b"b(", b"c()"]


def test_a_branch_is_never_emptied_into_the_one_before(tmp_path):
    good = "def handle():\n    if KIND == 1:\n        return 404\n    return 200\n\n\nKIND = 2\n"
    bad = good.replace("    return 200", "    elif KIND == 2:\n        return 500\n    return 200")
    _, _, _, found = candidates(tmp_path, good, bad)
    for candidate in found:
        assert b"-    elif KIND == 2:\n-        return 500\n" in candidate.diff


def test_an_indented_block_is_found_and_indented():
    base = b"def f():\n    a = 1\n    b = 2\n    return a\n"
    ours = b"class K:\n    def f():\n        a = 1\n        b = 2\n        return a\n"
    placed = transplant(base, ours, [Edit("p", 1, 3, (b"    a = 9\n",))])
    assert apply(ours, placed.edits) == b"class K:\n    def f():\n        a = 9\n        return a\n"


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(texts, texts, st.sampled_from(["f.py", "with blank.txt", "ünï.txt", 'q"uote', "new\nline"]))
def test_real_git_takes_any_diff(tmp_path_factory, old, new, name):
    folder = tmp_path_factory.mktemp("apply")
    subprocess.run(["git", "init", "-q"], cwd=folder, env=ENVIRONMENT, check=True)
    for before, after in ((old, new), (None, new), (old, None)):
        diff = unified(lambda _, text=before: text, {name: after})
        if not diff or before == after:
            continue
        if before is not None:
            (folder / name).write_bytes(before)
        done = subprocess.run(
            ["git", "apply", "-"], cwd=folder, env=ENVIRONMENT, input=diff, capture_output=True, check=False
        )
        assert done.returncode == 0, (diff, done.stderr)
        assert ((folder / name).read_bytes() if (folder / name).exists() else None) == after
        (folder / name).unlink(missing_ok=True)


def test_a_foreign_diff_is_applied_exactly_or_refused(tmp_path):
    history = History(tmp_path / "repo")
    bad = history.commit("start", app_py=BAD)
    repository = history.repository(tmp_path / "scratch")
    wanted = candidate_of(repository, Tree(revision=bad, overlay={"app.py": GOOD.encode()}), "model", "")
    tree, reason = from_diff(repository, bad, wanted.diff.decode())
    assert reason == ""
    assert tree is not None
    assert tree.overlay == {"app.py": GOOD.encode()}


@pytest.mark.parametrize(
    ("diff", "word"),
    [
        ("", "0 files"),
        ("nonsense", "0 files"),
        ("--- a/app.py\n+++ b/app.py\n@@ -1,1 +1,1 @@\n-nothing like it\n+x = 1\n", "does not apply"),
        ("--- a/app.py\n+++ b/app.py\n@@ -1,1 +1,1 @@\n-def handle():\n+def handle(:\n", "would not parse"),
        ("--- a/../x.py\n+++ b/../x.py\n@@ -0,0 +1,1 @@\n+x = 1\n", "not a path inside"),
        ("--- /dev/null\n+++ b/.git/hooks/x\n@@ -0,0 +1,1 @@\n+x = 1\n", "git's own"),
        ("--- /dev/null\n+++ b/app.py\n@@ -0,0 +1,1 @@\n+x = 1\n", "there already"),
        ("--- a/none.py\n+++ b/none.py\n@@ -1,1 +1,1 @@\n-x = 2\n+x = 1\n", "not in the revision"),
        ("--- a/app.py\n+++ /dev/null\n@@ -1,1 +0,0 @@\n-def handle():\n", "not deleted"),
        ("@@ -1 +1 @@\n-x\n+y\n" * 3, "not a unified diff"),
        ("x" * 300_000, "larger than"),
    ],
)
def test_a_hostile_diff_is_refused_with_a_reason(tmp_path, diff, word):
    history = History(tmp_path / "repo")
    bad = history.commit("start", app_py=BAD)
    repository = history.repository(tmp_path / "scratch")
    tree, reason = from_diff(repository, bad, diff)
    assert tree is None
    assert word in reason


def wide(tmp_path):
    """Twenty functions changed at once, one of which matters."""
    good = GOOD + "".join(f"\n\ndef f{n}():\n    return {n}\n" for n in range(20))
    history = History(tmp_path / "repo")
    start = history.commit("start", app_py=good)
    text = good.replace("timeout = 500", "timeout = 50")
    for n in range(20):
        text = text.replace(f"    return {n}\n", f"    return {n} + 0\n")
    culprit = history.commit("culprit", app_py=text)
    repository = history.repository(tmp_path / "scratch")
    runner = FakeRunner(repository)
    proof = counterfactual(repository, runner, culprit, start, culprit)
    return repository, runner, proof, culprit


def test_a_likely_function_is_tried_alone_first(tmp_path):
    repository, runner, proof, bad = wide(tmp_path)
    before = runner.runs
    hint = FunctionRef(name="app.handle", file="app.py", line=1)
    first = next(minimise(repository, runner, proof.healing, bad, hints=[hint]))
    assert first.size == 2
    assert runner.runs - before <= 4


def test_without_time_what_healed_is_still_a_candidate(tmp_path):
    repository, runner, proof, bad = wide(tmp_path)
    before = runner.runs
    said = []
    found = list(minimise(repository, runner, proof.healing, bad, seconds=0.0, watch=said.append))
    assert [candidate.rule for candidate in found] == ["the whole of what healed"]
    assert runner.runs == before
    assert said == [f"candidate: the whole of what healed, {found[0].size} lines, after 0 runs"]
