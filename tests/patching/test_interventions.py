"""Which outcome follows from which runs; without a run there is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butfor.evidence.runs import RunOutcome, Tree
from butfor.evidence.verdicts import Claim, Counterfactual
from butfor.patching import Intervention, claim_level, decide_outcome, intervene

KINDS = ("CodeChange", "ConfigChange", "Dependency", "Resource")


class Given:
    """A runner that answers with given judgements in turn."""

    def __init__(self, *judgements):
        self.judgements, self.runs = list(judgements), 0

    def run(self, tree, *, healthy=True, keep_telemetry=None):  # noqa: ARG002
        self.runs += 1
        return RunOutcome(judgement=self.judgements[(self.runs - 1) % len(self.judgements)], reason="why")


def tried(kind, healed, returned=None):
    return Intervention(kind, f"the {kind}", healed, returned)


@pytest.mark.parametrize(
    ("judgements", "healed"),
    [(["good"], True), (["good", "bad"], False), (["good", "unknown"], None), (["bad"], False)],
)
def test_healed_means_gone_in_every_run(judgements, healed):
    found = intervene("Dependency", "inventory", Given(*judgements), Tree(revision="r"), repeats=4)
    assert found.healed is healed
    assert found.runs == 4


def test_the_faulty_value_is_put_back_only_where_the_healthy_one_healed():
    back = Given("bad")
    found = intervene("Resource", "files", Given("good"), Tree(revision="r"), faulty=back, repeats=2)
    assert (found.healed, found.returned, found.runs) == (True, True, 4)
    assert intervene("Resource", "files", Given("bad"), Tree(revision="r"), faulty=back, repeats=2).returned is None
    assert back.runs == 2


@pytest.mark.parametrize("kind", KINDS)
def test_the_one_that_heals_is_the_outcome(kind):
    others = [tried(k, healed=False) for k in KINDS if k != kind]
    outcome, reason = decide_outcome([*others, tried(kind, healed=True)])
    assert outcome == kind
    assert f"the {kind}" in reason


def test_code_that_tells_good_from_bad_outranks_what_held_at_both():
    assert decide_outcome([tried("Dependency", healed=True), tried("CodeChange", healed=True)])[0] == "CodeChange"
    assert decide_outcome([tried("Resource", healed=True), tried("ConfigChange", healed=True)])[0] == "ConfigChange"


def test_two_that_heal_alike_cannot_be_told_apart_unless_one_returns():
    outcome, reason = decide_outcome([tried("Dependency", healed=True), tried("Resource", healed=True)])
    assert outcome == "Inconclusive"
    assert "the Dependency" in reason
    assert "the Resource" in reason
    firm = [tried("Dependency", healed=True), tried("Resource", healed=True, returned=True)]
    assert decide_outcome(firm)[0] == "Resource"
    refuted = [tried("Dependency", healed=True, returned=False), tried("Resource", healed=True)]
    assert decide_outcome(refuted)[0] == "Resource"


@given(st.lists(st.builds(tried, st.sampled_from(KINDS), st.sampled_from([False, None]))))
def test_without_a_run_that_heals_it_is_inconclusive_with_a_reason(results):
    outcome, reason = decide_outcome(results)
    assert outcome == "Inconclusive"
    assert reason


@given(*[st.sampled_from([True, False, None])] * 3, st.integers(0, 2))
def test_proved_needs_all_three(transition, necessary, sufficient, suspects):
    claims = Counterfactual(
        transition=Claim(held=transition), necessary=Claim(held=necessary), sufficient=Claim(held=sufficient)
    )
    level = claim_level(claims, suspects)
    assert (level == "Proved") == (transition is True and necessary is True and sufficient is True)
    assert (level == "Bisected") == (transition is True and level != "Proved")
    assert (level == "None") == (not transition and not suspects)
