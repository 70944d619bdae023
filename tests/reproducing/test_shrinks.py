"""Delta debugging, the rank test, and the proof of what ran."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butfor.reproducing import slownesses, suites
from butfor.reproducing.plain import proofs
from butfor.reproducing.shrinks import shrink


@given(st.integers(0, 24), st.data())
def test_the_result_fails_and_nothing_can_be_left_out(size, data):
    items = list(range(size))
    needed = set(data.draw(st.lists(st.sampled_from(items), max_size=4))) if items else set()
    result = shrink(items, lambda kept: needed <= set(kept), 10_000)
    assert set(result) == needed
    assert result == sorted(result), "order is kept"


@given(st.integers(2, 20), st.integers(0, 12))
def test_the_budget_is_kept_and_the_result_still_fails(size, budget):
    calls = []

    def fails(kept):
        calls.append(kept)
        return 0 in kept and size - 1 in kept

    result = shrink(list(range(size)), fails, budget)
    assert len(calls) <= budget
    assert {0, size - 1} <= set(result)


def test_either_of_two_causes_is_enough():
    result = shrink(list(range(10)), lambda kept: 3 in kept or 7 in kept, 1000)
    assert result in ([3], [7])


def test_rank_test_against_known_values():
    assert slownesses.mann_whitney([1, 2, 3], [4, 5, 6]) == pytest.approx(1 / 20)
    assert slownesses.mann_whitney([1, 2, 3, 4, 5], [6, 7, 8, 9, 10]) == pytest.approx(1 / 252)
    assert slownesses.mann_whitney([4, 5, 6], [1, 2, 3]) == pytest.approx(1.0)
    assert slownesses.mann_whitney([1, 1, 1], [1, 1, 1]) > 0.3
    assert slownesses.mann_whitney([], [1]) == 1.0


@given(st.lists(st.floats(0.001, 10), min_size=3, max_size=12), st.lists(st.floats(0.001, 10), min_size=3, max_size=12))
def test_the_p_value_is_a_probability(one, other):
    assert 0 <= slownesses.mann_whitney(one, other) <= 1 + 1e-9


def test_a_slowdown_is_one_and_noise_is_none():
    rng = random.Random(3)
    good = [0.2 * rng.uniform(0.9, 1.2) for _ in range(7)]
    bad = [0.9 * rng.uniform(0.9, 1.2) for _ in range(7)]
    found = slownesses.compare(good, bad, {"cpu_seconds": (0.1, 0.8)})
    assert slownesses.is_slower(found)
    assert max(good) < found.threshold_s < min(bad)
    assert not slownesses.is_slower(slownesses.compare(good, [value * 1.05 for value in good]))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "src" / "desk").mkdir(parents=True)
    (tmp_path / "src" / "desk" / "orders.py").write_text("")
    return tmp_path


@pytest.mark.parametrize(
    ("loaded", "proven"),
    [
        ([], None),
        (["<worktree>/src/desk/orders.py", "/usr/lib/python3/json.py"], True),
        (["/usr/lib/python3/json.py"], False),
        (["<worktree>/src/desk/orders.py", "/v/lib/python3.11/site-packages/desk/orders.py"], False),
        (["<worktree>/src/desk/orders.py", "/v/lib/python3.11/site-packages/other/orders.py"], True),
        (["<worktree>/.venv/lib/python3.11/site-packages/x.py"], False),
    ],
)
def test_what_ran_is_proven_by_loaded_files(tree, loaded, proven):
    assert proofs.proof(loaded, tree, ".") is proven


def test_a_tree_without_python_proves_nothing(tmp_path):
    assert proofs.proof(["/usr/lib/python3/json.py"], tmp_path, ".") is None
    assert proofs.together([True, None]) is None
    assert proofs.together([True, False]) is False
    assert proofs.together([True, True]) is True
    assert proofs.together([]) is None


def test_reports_of_pytest_are_read_and_others_are_not(tmp_path):
    report = tmp_path / "junit.xml"
    report.write_text(
        '<testsuites><testsuite><testcase classname="t" name="a"/>'
        '<testcase classname="t" name="b"><failure/></testcase>'
        '<testcase classname="t" name="c"><error/></testcase><testcase classname="t" name="d"><skipped/></testcase>'
        "</testsuite></testsuites>"
    )
    assert suites.read_report(report) == {"t::a": "passed", "t::b": "failed", "t::c": "error", "t::d": "skipped"}
    report.write_text("<testsuites><")
    assert suites.read_report(report) == {}
    assert suites.read_report(tmp_path / "absent.xml") == {}
