"""A failure with more than one form: the claim rests on bad healing without the culprit."""

import pytest

from butfor.evidence.predicates import FailurePredicate
from butfor.evidence.verdicts import Claim, Counterfactual
from butfor.investigating.forms import same_failure

PREDICATE = FailurePredicate(service="s", method="GET", route="/", status=400)


@pytest.mark.parametrize(("necessary", "held"), [(True, True), (False, None), (None, None)])
def test_a_transition_in_another_form_holds_only_if_bad_heals_without_it(necessary, held):
    claims = Counterfactual(transition=Claim(held=True, runs=2), necessary=Claim(held=necessary))
    wider = PREDICATE.model_copy(update={"also": [PREDICATE.model_copy(update={"status": 200})]})
    assert same_failure(claims, wider).transition.held is held
    assert same_failure(claims, PREDICATE) == claims
