"""Scores compare verdicts with truth and never flatter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butfor.evaluating import scores
from butfor.evidence.incidents import Incident, Truth
from butfor.evidence.suspects import Suspect
from butfor.evidence.verdicts import Bisection, ReproductionSummary, Verdict

CULPRIT, OTHER = "a" * 40, "b" * 40
INCIDENT = Incident(id="x", services=[])


def verdict(**changes):
    facts = {
        "outcome": "CodeChange", "claim": "Proved",
        "bisection": Bisection(first_bad=CULPRIT, runs=6, git_bisect_runs=8),
        "suspects": [Suspect(commit=CULPRIT, score=1.0)], "rank_before_runs": [OTHER, CULPRIT],
        "reproduction": ReproductionSummary(bad_runs=10, bad_failures=10, good_runs=10, good_failures=0),
    }  # fmt: skip
    return Verdict(**{**facts, **changes})


def test_a_right_proof():
    row = scores.score(INCIDENT, verdict(), Truth(culprit=CULPRIT), second=True, path="v")
    assert (row["rank_before_runs"], row["rank_after_bisection"], row["proof_true"]) == (2, 1, True)
    total = scores.totals([row])
    assert (total["proved"], total["wrong_proofs"], total["reproduced"]) == (1, 0, 1)
    assert total["runs_against_git_bisect"] == 0.75


@pytest.mark.parametrize(
    ("changes", "truth", "expected"),
    [
        ({}, Truth(culprit=OTHER), False),
        ({}, Truth(culprit=OTHER, also_accepted=[CULPRIT]), True),
        ({}, Truth(outcome="Dependency"), False),
        ({"outcome": "Dependency"}, Truth(outcome="Dependency"), True),
        ({"outcome": "Inconclusive"}, Truth(culprit=CULPRIT), None),
        ({"claim": "Suspected"}, Truth(culprit=OTHER), None),
        ({"outcome": "Dependency", "claim": "Suspected"}, Truth(outcome="Dependency"), None),
        ({"outcome": "Dependency"}, Truth(outcome="Resource"), False),
        ({}, None, None),
    ],
)
def test_what_counts_as_a_true_proof(changes, truth, expected):
    assert scores.proof_true(verdict(**changes), truth) is expected


def test_an_error_is_a_row_and_counts_as_nothing_else():
    total = scores.totals([scores.failed_row("x", "broken")])
    assert total["errors"] == 1
    assert {key: total[key] for key in ("proved", "reproduced", "first_before_runs", "right_outcome")} == dict.fromkeys(
        ("proved", "reproduced", "first_before_runs", "right_outcome"), 0
    )


@given(commits=st.lists(st.sampled_from([c * 40 for c in "abcdef"]), unique=True), wanted=st.sampled_from("abcdef"))
def test_the_rank_is_the_place_in_the_list(commits, wanted):
    rank = scores.rank_of(commits, {wanted * 40})
    assert (commits[rank - 1] == wanted * 40) if rank else (wanted * 40 not in commits)
