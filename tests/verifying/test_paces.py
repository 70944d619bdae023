"""A patch that misses a limit of time: judged beside good, so that a busy machine does not decide."""

from statistics import median

import pytest

from bisecting.histories import History
from butfor.evidence.runs import AnswerSeen, RunOutcome, Tree
from butfor.verifying import Verifier
from butfor.verifying.baselines import Bench
from butfor.verifying.paces import judged, only_late

GOOD, PATCHED = Tree(revision="good"), Tree(revision="bad", overlay={"app.py": b"x"})
LIMIT = 0.5


def seen(seconds, *, status=200, right=True):
    late = seconds > LIMIT
    answer = AnswerSeen(
        id="f", role="failing", status=status, seconds=seconds, as_good=right and not late, as_failure=right and late
    )
    return RunOutcome(
        judgement="bad" if answer.as_failure else "good" if answer.as_good else "unknown", answers=[answer]
    )


class Timed:
    """Gives the runs of each revision in turn; the last again and again."""

    runs = 0

    def __init__(self, good, bad):
        self.left = {"good": good, "bad": bad}

    def run(self, tree, *, healthy=True, keep_telemetry=None):  # noqa: ARG002
        left = self.left[tree.revision]
        return left.pop(0) if len(left) > 1 else left[0]


def twice_as_slow(good, other):
    return median(other) > 2 * median(good)


def check(good, patched, tmp_path, deadline=None):
    return judged(Bench(Timed(good, patched), tmp_path, deadline), GOOD, PATCHED, twice_as_slow)


def test_only_time_was_wrong():
    assert only_late(seen(0.9))
    assert not only_late(seen(0.1))
    assert not only_late(seen(0.9, status="timeout"))
    assert not only_late(seen(0.1, right=False))
    assert not only_late(seen(0.9).model_copy(update={"answers": []}))


def test_as_quick_as_good_on_a_busy_machine_passes_if_it_was_in_time_once(tmp_path):
    found, sound = check([seen(0.45)], [seen(0.6), seen(0.4), seen(0.7)], tmp_path)
    assert found.passed is True
    assert [one.judgement for one in sound] == ["good"]
    never, none = check([seen(0.45)], [seen(0.6)], tmp_path)
    assert (never.passed, none) == (None, [])


def test_slower_than_good_beside_it_fails_though_it_was_in_time_now_and_then(tmp_path):
    found, _ = check([seen(0.1)], [seen(0.6), seen(0.4), seen(0.7)], tmp_path)
    assert found.passed is False
    assert "0.100 s" in found.detail


@pytest.mark.parametrize("wrong", [seen(0.1, right=False), seen(3.0, status="timeout")])
def test_another_fault_is_never_a_matter_of_time(tmp_path, wrong):
    found, _ = check([seen(0.45)], [seen(0.6), wrong], tmp_path)
    assert found.passed is False


def test_what_cannot_be_compared_is_not_told(tmp_path):
    assert check([seen(0.4, status="closed")], [seen(0.6), seen(0.4)], tmp_path)[0].passed is None
    assert check([seen(0.4)], [seen(0.6), seen(0.4)], tmp_path, deadline=0.0)[0].passed is None


@pytest.mark.parametrize(("slower", "passed"), [(twice_as_slow, True), (None, False)])
def test_a_verifier_asks_only_where_the_failure_is_a_slowness(tmp_path, slower, passed):
    history = History(tmp_path / "repo")
    good = history.commit("good", app_py="A = 1\n")
    bad = history.commit("bad", app_py="A = 2\n")
    runner = Timed([seen(0.3)], [seen(0.6), *[seen(0.4)] * 99])
    runner.left = {good: runner.left["good"], bad: runner.left["bad"]}
    repository = history.repository(tmp_path / "scratch")
    with Verifier(repository, runner, bad, "", good=good, slower=slower, repeats=3) as verifier:
        summary = verifier.verify(Tree(revision=bad, overlay={"app.py": b"A = 1\n"}), diff=b"x")
    (found,) = [one for one in summary.checks if one.name == "reproduction"]
    assert found.passed is passed
