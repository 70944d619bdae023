"""What would decide a bisection that did not end: it depends on why revisions could not be judged."""

from types import SimpleNamespace

from butfor.investigating.conclusions import _left_over
from butfor.reproducing.learning import Lesson, Shown


def left_over(*reasons):
    steps = [{"commit": f"{n}" * 40, "judgement": "unknown", "reason": why} for n, why in enumerate(reasons, 1)]
    steps.append({"commit": "9" * 40, "judgement": "bad", "reason": "1 of 1 failing requests failed as captured"})
    bisected = SimpleNamespace(candidates=["1" * 40], bisection=SimpleNamespace(steps=steps))
    return _left_over(SimpleNamespace(bisected=bisected))


def test_revisions_that_do_not_start_are_to_be_started():
    assert left_over("does not start: no module named x").startswith("make the revisions between them start")


def test_revisions_that_answer_otherwise_are_named_with_what_they_answer():
    said = left_over("does not start: x", "request r9 neither failed as captured nor got good's answer: status 404")
    assert said.startswith("1 of them answer neither as good does nor as captured (222222222222: request r9")
    assert "status 404" in said
    assert "repro/run: 111111111111" in said


def why(good, bad):
    def shown(status):
        return Shown(None, {"r": SimpleNamespace(status=status)}, {})

    return Lesson(None, [shown(one) for one in good], [shown(one) for one in bad])._why("r", set())


def test_a_request_that_is_left_out_says_which_answers_differ():
    assert why([404, 404], [200]) == "good answers it with 404, bad with 200"
    assert why([200, 503], [200]) == "good does not answer it alike each time"
    assert why([200, 200], [200]) == "good does not answer it alike each time"
