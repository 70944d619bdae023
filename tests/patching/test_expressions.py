"""A statement cut to the expressions that differ."""

import ast

from hypothesis import given
from hypothesis import strategies as st

from bisecting.histories import FakeRunner, History
from butfor.patching import counterfactual, minimise
from butfor.patching.edits import Edit, apply, split
from butfor.patching.expressions import narrower


def cut(old, new, around=""):
    """Every narrower text of a statement; `around` stands before it."""
    whole = (around + old).encode()
    start = len(split(around.encode()))
    edit = Edit("a.py", start, start + len(split(old.encode())), tuple(split(new.encode())))
    return [apply(whole, [one]).decode()[len(around) :] for one in narrower(whole, edit)]


def test_each_argument_that_differs_alone():
    found = cut("    call(b(2), limit=None, kept=1)\n", "    call(a, limit=30, kept=1)\n", "def f():\n")
    assert found == ["    call(a, limit=None, kept=1)\n", "    call(b(2), limit=30, kept=1)\n"]


def test_over_several_lines_and_with_letters_beyond_ascii():
    old = "x = call(\n    'é', 1,\n    two(\n        3),\n)\n"
    assert cut(old, "x = call('ü', 1, 9)\n") == [
        "x = call(\n    'é', 1,\n    9,\n)\n", "x = call(\n    'ü', 1,\n    two(\n        3),\n)\n",
    ]  # fmt: skip


def test_a_header_without_its_body():
    assert cut("if a > 1 and b:\n", "if a > 2 and c:\n") == ["if a > 2 and b:\n", "if a > 1 and c:\n"]


def test_what_is_one_expression_or_none_is_not_cut():
    assert cut("x = 1\n", "x = 2\n") == []
    assert cut("x = f(1)\n", "x = f(1, 2)\n") == []
    assert cut("x = a < 1\n", "x = b > 1\n") == []
    assert cut("return (\n", "raise (\n") == []
    assert cut("elif a:\n", "elif b:\n") == []
    assert cut("", "x = 1\n") == []


ARGUMENTS = st.lists(st.sampled_from(["1", "a", "f(2)", "'é'", "b.c", "[1, 2]"]), min_size=2, max_size=5)


@given(ARGUMENTS, ARGUMENTS)
def test_each_is_whole_and_differs_from_both_sides(mine, its):
    old, new = f"call({', '.join(mine)})\n", f"call({', '.join(its)})\n"
    for text in cut(old, new):
        ast.parse(text)
        assert text not in {old, new}


def test_an_expression_keeps_the_rest_of_the_statement(tmp_path):
    good = "def handle():\n    return told(500, 'old')\n\n\ndef told(limit, name):\n    return 200 if limit > 100 else 500\n"
    history = History(tmp_path / "repo")
    first = history.commit("start", app_py=good)
    bad = history.commit("culprit", app_py=good.replace("told(500, 'old')", "told(50, 'new')"))
    repository = history.repository(tmp_path / "scratch")
    runner = FakeRunner(repository)
    proof = counterfactual(repository, runner, bad, first, bad)
    texts = [one.tree.overlay["app.py"].decode() for one in minimise(repository, runner, proof.healing, bad)]
    assert any("told(500, 'new')" in text for text in texts)
    assert not any("told(50, 'old')" in text for text in texts)
