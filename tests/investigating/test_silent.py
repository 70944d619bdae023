"""Failures that only the kernel sees: what a user named is not sought in answers, what nobody named comes after these."""

from types import SimpleNamespace

import pytest

from butfor.cli.options import parse_symptom
from butfor.errors import UserError
from butfor.evidence.incidents import Symptom
from butfor.evidence.predicates import FailurePredicate
from butfor.investigating.contrasting import contrasted
from butfor.investigating.outcomes import unsaid
from butfor.investigating.signatures import with_signature

BENEATH = FailurePredicate(service="web", method="GET", route="/", by_kernel=True)


def asking(**keys):
    return SimpleNamespace(symptom=Symptom(**keys))


@pytest.mark.parametrize(
    ("keys", "first"), [({}, False), ({"route": "/"}, True), ({"route": "/", "kernel": "write ENOSPC"}, False)]
)
def test_what_good_answers_otherwise_comes_before_what_nobody_named(keys, first):
    assert unsaid(BENEATH, asking(**keys)) is first
    assert not unsaid(BENEATH.model_copy(update={"by_kernel": False}), asking(**keys))


def test_no_answer_stands_in_for_what_the_kernel_saw():
    found = contrasted(asking(kernel="write ENOSPC", route="/"), None, None, None, None)
    assert (found.members, found.reason) == ([], "what was seen is in the kernel: no answer shows it")


def test_what_every_run_is_judged_by_is_demanded_once():
    runner = SimpleNamespace(predicate=BENEATH)
    assert with_signature(runner, "good", "bad")[0] is runner


def test_the_kernels_word_is_an_option_of_its_own_or_a_part_of_the_symptom():
    named = Symptom(kernel="connect ECONNREFUSED", route="/pay")
    assert parse_symptom(["route=/pay"], None, "connect ECONNREFUSED") == named
    assert parse_symptom(["route=/pay", "kernel=connect ECONNREFUSED"]) == named
    with pytest.raises(UserError, match="--symptom"):
        parse_symptom([], None, " ")
