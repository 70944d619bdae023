"""A search does not wait for a hang as long as a client did; everything else waits as before."""

import pytest

from butfor.evidence.plays import PlannedRequest
from butfor.evidence.predicates import FailurePredicate
from butfor.evidence.reproductions import PlanParts, Reproduction, Slowness
from butfor.investigating.waiting import hasty
from butfor.ports.benches import Bench
from butfor.reproducing import LocalRunner, Workshop


def requests(runner):
    return {one.id: one.timeout_s for one in runner.parts.requests}


@pytest.fixture
def runner_for(tmp_path):
    sent = [
        PlannedRequest(id=name, role=role, service="s", method="GET", target="/", timeout_s=30)
        for name, role in (("f", "failing"), ("h", "healthy"))
    ]
    workshop = Workshop(Bench.of_this_machine(), {}, tmp_path)

    def make(ended):
        predicate = FailurePredicate(service="s", method="GET", route="/", ended=ended)
        return LocalRunner([], PlanParts(service="s", requests=sent), predicate, workshop, frozenset({"s"}))

    return make


def reproduction(good_s):
    slowness = Slowness(good_s=good_s, bad_s=30, ratio=1, p_value=0, runs=2, threshold_s=1) if good_s else None
    return Reproduction.model_construct(slowness=slowness)


@pytest.mark.parametrize(("good_s", "bound"), [(0.01, 1.5), (0.4, 4.0), (20, 30), (None, 30)])
def test_a_hang_is_waited_for_by_what_good_takes(runner_for, good_s, bound):
    runner = runner_for("timeout")
    quick = hasty(runner, reproduction(good_s))
    assert requests(quick) == {"f": bound, "h": 30}
    assert quick.count is runner.count
    assert requests(runner) == {"f": 30, "h": 30}


def test_another_failure_is_waited_for_as_before(runner_for):
    runner = runner_for("closed")
    assert hasty(runner, reproduction(0.01)) is runner
