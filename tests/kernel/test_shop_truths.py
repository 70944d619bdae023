"""The demo's shop says itself what each of its threads works for; what the kernel's events are joined to must agree."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from judging_truths import Judge, State, Witness
from shop_truths import witnessed

pytestmark = [pytest.mark.slow, pytest.mark.once]
CLOSE_NS = 10_000
"""What two clocks of one machine may differ by, and what is forgiven at the edges of a state."""


@pytest.fixture(scope="module")
def seen(kernel, tmp_path_factory):
    work = tmp_path_factory.mktemp("shop")
    return witnessed("shop-timeout", kernel, work / "bundle", work)


def test_the_shops_failures_are_joined_exactly_and_none_to_another_span(seen, capsys):
    judge = Judge(seen)
    found = judge.judged()
    with capsys.disabled():
        print(f"\n{found.lines()}\n{found.exact_share():.1%} exact; clocks within {judge.bound_ns} ns")
    assert judge.bound_ns < CLOSE_NS
    assert found.wrong == []
    assert found.exact_share() >= 0.95
    assert found.counts["inside", "exact"] >= 15


def test_ids_that_are_one_span_off_are_noticed(seen):
    found = Judge(seen, shift=1).judged()
    assert found.counts["inside", "exact"] == 0
    assert len(found.wrong) >= 15


def test_what_did_not_fail_is_joined_exactly_too_and_sockets_as_surely_as_stated(seen, capsys):
    found = Judge(seen).judged(failures=False)
    with capsys.disabled():
        print(f"\n{found.lines()}\n{found.exact_share():.1%} exact")
    assert found.exact_share() >= 0.95
    sure = {stated for what, stated in found.sockets if what == "right"}
    for stated in sure:
        right, wrong = found.sockets["right", stated], found.sockets["wrong", stated]
        assert right / (right + wrong) >= stated, stated


def test_a_moment_at_the_edge_of_a_state_may_be_either_and_no_other():
    works = [["works", 7, 1000, 1010, "t" * 32, "a" * 16, 0], ["works", 7, 2000, 2010, "", "", 0]]
    witness = Witness({5: [["clock", 0, 500, 510, 505], *works, ["asks", 7, 1500, 1501, "SELECT 1"]]}, 3)
    bound, span = witness.bound_ns, ("t" * 32, "a" * 16)
    assert witness.at(5, 7, 1000 - bound - 1) == [State()]
    assert witness.at(5, 7, 1005) == [State(span), State()]
    assert witness.at(5, 7, 1010 + bound + 1) == [State(span)]
    assert witness.at(5, 7, 1700) == [State(span, statement="SELECT 1")]
    assert witness.at(5, 8, 1700) == witness.at(6, 7, 1700) == [State()]
