"""Candidates in turn: the first that passes is taken, none is looked for in vain, and failing is said."""

import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from butfor.evidence.runs import Tree
from butfor.evidence.verdicts import Check, PatchSummary
from butfor.investigating.patches import first_verified
from butfor.patching import PatchCandidate


def candidate(name, origin="hunks"):
    return PatchCandidate(Tree(revision="bad", label=name), origin, name, name.encode(), 1)


class Checker:
    """Verifies by name: `passes` pass; others fail as many checks as their name has letters."""

    def __init__(self, *passes, late_after=100):
        self.passes, self.seen = passes, []
        self.late_after, self.bench = late_after, SimpleNamespace(late=False)

    def verify(self, tree, *, origin="", diff=b""):
        self.seen.append((tree.label, origin, diff))
        self.bench.late = len(self.seen) >= self.late_after
        ok = tree.label in self.passes
        checks = [Check(name=str(n), passed=ok) for n in range(1 if ok else len(tree.label))]
        return PatchSummary(origin=origin, verified=ok, checks=checks, reason="" if ok else f"failed: {tree.label}")


def lazily(names, taken):
    for name in names:
        taken.append(name)
        yield candidate(name)


@pytest.fixture
def stages():
    used = []

    @contextmanager
    def stage(name):
        used.append(name)
        yield

    return stage, used


def test_what_comes_after_a_verified_candidate_is_never_looked_for(stages):
    taken = []
    checker = Checker("b")
    found = first_verified(lazily("abc", taken), lambda: pytest.fail("not asked"), checker, stages[0])
    assert found.summary.verified
    assert found.candidate.rule == "b"
    assert (taken, found.tried) == (["a", "b"], 2)
    assert stages[1] == ["patch", "verify", "patch", "verify"]


def test_a_proposal_goes_through_the_same_checks_after_the_others(stages):
    checker = Checker("from a model")
    found = first_verified([candidate("a")], lambda: [candidate("from a model", "model")], checker, stages[0])
    assert checker.seen == [("a", "hunks", b"a"), ("from a model", "model", b"from a model")]
    assert found.summary.origin == "model"


def test_where_none_passes_the_one_with_the_fewest_failures_is_reported_as_failed(stages):
    found = first_verified([candidate("long"), candidate("x"), candidate("yes")], list, Checker(), stages[0])
    assert not found.summary.verified
    assert found.candidate.rule == "x"
    assert found.summary.reason == "failed: x; none of 3 candidates passed every check"


def test_no_candidate_and_no_time(stages):
    none = first_verified([], list, Checker(), stages[0])
    assert none.candidate is None
    assert none.summary.reason
    late = first_verified([candidate("a"), candidate("b")], list, Checker("b", late_after=1), stages[0])
    assert late.tried == 1
    assert not late.summary.verified


def test_after_a_while_no_further_candidate_is_begun_and_a_proposal_still_is(stages):
    taken, checker = [], Checker("from a model")
    proposals = lambda: [candidate("from a model", "model")]  # noqa: E731
    found = first_verified(lazily("abc", taken), proposals, checker, stages[0], until=time.monotonic() - 1)
    assert taken == ["a"]
    assert found.candidate.origin == "model"
    whole = first_verified(lazily("abc", []), list, Checker("c"), stages[0], until=time.monotonic() + 60)
    assert whole.candidate.rule == "c"


def test_the_best_so_far_is_told_before_the_next_is_looked_for(stages):
    told = []
    names = ["long", "x", "yes"]
    first_verified([candidate(n) for n in names], list, Checker(), stages[0], better=told.append)
    assert [one.candidate.rule for one in told] == ["long", "x"]
