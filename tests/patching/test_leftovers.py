"""Half of a change: a candidate that leaves a value unread goes behind those that do not."""

import pytest

from bisecting.histories import FakeRunner, History
from butfor.patching import counterfactual, minimise
from butfor.patching.leftovers import leftovers

GOOD = """def handle(limit=7):
    return serve({"page": 5}, limit)


def serve(config, limit):
    return 200 if config.get("page") == 5 else 500
"""
BAD = """def handle(limit=7):
    config = {"page": 5}
    if limit:
        config = {"limit": limit}
    return serve(config, None)


def serve(config, limit):
    return 200 if config.get("page") == 5 else 500
"""
HALF = b'def handle(limit=7):\n    config = {"page": 5}\n    return serve(config, None)\n'


def left(patched: str | bytes, *, bad: str = BAD, healed: str = GOOD, path: str = "app.py") -> set[str]:
    content = patched.encode() if isinstance(patched, str) else patched
    return leftovers(lambda _: bad.encode(), {path: content}, {path: healed.encode()})


def test_a_parameter_that_bad_and_good_read_is_missed():
    assert left(HALF) == {"app.py:handle:limit"}


def test_all_of_a_change_leaves_nothing():
    assert left(GOOD) == set()
    assert left(BAD) == set()


def test_a_parameter_that_good_does_not_read_either_is_not_missed():
    good = GOOD.replace("}, limit)", "}, 0)", 1)
    assert left(good, healed=good) == set()


def test_a_result_that_nobody_reads_is_left_over():
    bad = "def f(a):\n    made = a + 1\n    return made\n"
    assert left("def f(a):\n    made = a + 1\n    return a\n", bad=bad, healed="def f(a):\n    return a\n") == {
        "app.py:f:made"
    }


def test_a_result_that_good_does_not_read_either_is_not():
    bad = "def f(a):\n    made, rest = a\n    return made + rest\n"
    good = bad.replace("made + rest", "made")
    assert left(good, bad=bad, healed=good) == set()


def test_what_others_read_is_not_left_over():
    bad = "def f(a):\n    global made\n    made = a\n    return made\n"
    assert left(bad.replace("return made", "return a"), bad=bad, healed="def f(a):\n    return a\n") == set()


@pytest.mark.parametrize("content", [b"", b"def f(:", b"\x00", b"(" * 5000, b"x = 1\n"])
def test_what_does_not_parse_leaves_nothing(content):
    assert left(content) == set()
    assert left(content, path="data.txt") == set()


def test_a_method_is_compared_with_itself():
    bad = "class A:\n    def f(self, a):\n        return a\n\n    def g(self, a):\n        return a\n"
    assert left(bad.replace("return a", "return 1", 1), bad=bad, healed=bad) == {"app.py:A.f:a"}


def test_files_that_were_added_or_removed_say_nothing():
    assert leftovers(lambda _: None, {"new.py": b"def f(a):\n    return 1\n"}, {}) == set()
    assert leftovers(lambda _: BAD.encode(), {"app.py": None}, {}) == set()


def test_a_candidate_that_puts_back_half_of_a_change_goes_behind_the_whole(tmp_path):
    history = History(tmp_path / "repo")
    good = history.commit("start", app_py=GOOD)
    culprit = history.commit("culprit", app_py=BAD)
    repository = history.repository(tmp_path / "scratch")
    runner, said = FakeRunner(repository), []
    proof = counterfactual(repository, runner, culprit, good, culprit)
    found = list(minimise(repository, runner, proof.healing, culprit, watch=said.append))
    halves = [b"limit" not in c.tree.overlay["app.py"].split(b"return serve(")[1].split(b"\n")[0] for c in found]
    assert halves == sorted(halves)
    assert True in halves
    assert False in halves
    assert any("leaves unread: app.py:handle:limit" in line for line in said)
