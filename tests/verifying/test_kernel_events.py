"""What the kernel saw with a patch against bad and good."""

import pytest

from butfor.evidence.predicates import KernelFailure
from butfor.evidence.runs import RunOutcome
from butfor.verifying.comparisons import Sides
from butfor.verifying.kernels import kernel_events

REFUSED, FULL, NOISE = (
    KernelFailure(kind="connect", errno="ECONNREFUSED", target_type="inet"),
    KernelFailure(kind="write", errno="ENOSPC", target_type="file"),
    KernelFailure(kind="recv", errno="ECONNRESET", target_type="inet"),
)


def runs(*seen):
    return [RunOutcome(judgement="good", kernel=None if one is None else list(one)) for one in seen]


def sides(patched, bad, good, alone):
    return Sides(runs(*patched), runs(*bad), runs(*good), runs(*alone), runs((REFUSED,)))


@pytest.mark.parametrize(
    ("patched", "bad", "good", "alone", "passed"),
    [
        ([(), ()], [(REFUSED,)], [()], [()], True),
        ([(NOISE,), ()], [(REFUSED, NOISE)], [()], [()], True),
        ([(REFUSED,), ()], [(REFUSED,)], [(REFUSED,)], [(REFUSED,)], True),
        ([(REFUSED,)], [(REFUSED,)], [()], [(REFUSED,)], False),
        ([(FULL,), (FULL,)], [(REFUSED,)], [()], [()], False),
        ([(FULL,), ()], [(REFUSED,)], [()], [()], None),
        ([()], [(REFUSED,)], [], [()], None),
    ],
)
def test_the_failures_own_events_are_gone_and_none_is_new(patched, bad, good, alone, passed):
    check = kernel_events(sides(patched, bad, good, alone))
    assert check is not None
    assert check.passed is passed


@pytest.mark.parametrize("patched", [[None], []])
def test_without_the_kernel_there_is_nothing_to_say(patched):
    assert kernel_events(sides(patched, [(REFUSED,)], [()], [()])) is None
