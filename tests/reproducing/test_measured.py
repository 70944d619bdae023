"""Failures that have to be measured: a slowdown, and one that shows only under load."""

import dataclasses

import pytest

from butfor.evidence.predicates import FailurePredicate, Frame
from butfor.evidence.runs import Tree
from butfor.ports.benches import Bench
from butfor.reproducing import Budget, Workshop, reproduce

from . import planted

pytestmark = pytest.mark.slow
PLACE = '    if path == "/list":\n'
SLOW = PLACE + "        import time; time.sleep(0.25)\n"
RACE = PLACE + (
    "        import time\n"
    "        if ORDERS.get('busy'):\n"
    "            raise RuntimeError('the list is locked')\n"
    "        ORDERS['busy'] = True\n"
    "        time.sleep(0.02)\n"
    "        del ORDERS['busy']\n"
)


def world(base, change, predicate, seconds):
    """Good, then a commit with the change; /list fails in a capture where requests take `seconds`."""
    base.chmod(0o711)
    shas = planted.history(base / "history")[:1]
    path = base / "history" / "desk" / "orders.py"
    planted.git(base / "history", "checkout", "-q", shas[0])
    text = path.read_text()
    assert PLACE in text
    path.write_text(text.replace(PLACE, change))
    planted.git(base / "history", "commit", "-q", "-a", "-m", "the change")
    shas.append(planted.git(base / "history", "rev-parse", "HEAD"))
    workshop = Workshop(Bench.of_this_machine(), {"desk": base / "history"}, base / "scratch")
    described = planted.service(*shas)
    timelines, telemetry = planted.capture(workshop, described, base / "capture")
    seen = [one.model_copy(update={"duration_s": seconds}) for one in timelines.requests]
    failing = [n for n, one in enumerate(seen) if one.target == "/list"]
    healthy = [n for n in range(len(seen)) if n not in failing]
    timelines = dataclasses.replace(timelines, requests=seen, predicate=predicate, failing=failing, healthy=healthy)
    return shas, described, workshop, timelines, telemetry


def test_a_slowdown_is_judged_against_good_not_against_the_captured_machine(tmp_path):
    predicate = FailurePredicate(service="desk", method="GET", route="/list", slower_than_s=5.0)
    shas, described, workshop, timelines, telemetry = world(tmp_path, SLOW, predicate, 7.0)
    done = reproduce(timelines, telemetry, [described], workshop, *shas, Budget(confirm=3))
    found = done.reproduction
    assert found.reason == "", found.notes
    assert (found.bad_failures, found.good_failures) == (3, 0)
    assert found.slowness.ratio > 2
    assert found.slowness.p_value < 0.01
    assert found.slowness.good_s < found.predicate.slower_than_s < found.slowness.bad_s
    assert [done.runner.run(Tree(revision=sha)).judgement for sha in shas] == ["good", "bad"]


def test_no_slowdown_is_no_reproduction(tmp_path):
    predicate = FailurePredicate(service="desk", method="GET", route="/list", slower_than_s=5.0)
    shas, described, workshop, timelines, telemetry = world(tmp_path, PLACE + "        pass\n", predicate, 7.0)
    done = reproduce(timelines, telemetry, [described], workshop, *shas, Budget(confirm=2))
    assert not done.reproduction.reproduced
    assert "not slower" in done.reproduction.reason


def test_a_failure_that_needs_load_gets_it(tmp_path):
    predicate = FailurePredicate(
        service="desk", method="GET", route="/list", status=500, exception_types=["RuntimeError"],
        message_template="the list is locked", frame=Frame(file="desk/orders.py", line=20, function="route"),
    )  # fmt: skip
    shas, described, workshop, timelines, telemetry = world(tmp_path, RACE, predicate, 60.0)
    done = reproduce(timelines, telemetry, [described], workshop, *shas, Budget(confirm=3))
    found = done.reproduction
    assert found.reproduced, (found.reason, found.notes)
    assert found.parts.way == "load"
    assert found.parts.concurrency > 1
    assert found.good_failures == 0
    assert found.bad_failures == found.bad_runs == 3, "a run repeats until it hardly ever misses"
