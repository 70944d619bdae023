"""Single things set to their healthy value: limits, variables, answers; and nothing else with them."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butfor.evidence.plays import StubAnswer
from butfor.evidence.predicates import FailurePredicate
from butfor.evidence.reproductions import PlanParts
from butfor.evidence.runs import AnswerSeen, RunOutcome
from butfor.evidence.services import ServiceDescription
from butfor.reproducing import LocalRunner, interventions
from butfor.reproducing.learning import Lesson, Shown
from butfor.reproducing.recreating import _tells_apart

ENVIRONMENTS = st.dictionaries(st.sampled_from("ABCDE"), st.sampled_from("xyz"))


def runner_of(*services, **parts):
    planned = PlanParts(service="web", requests=[], **parts)
    predicate = FailurePredicate(service="web", method="GET", route="/")
    return LocalRunner(list(services), planned, predicate, None, frozenset({"web"}))


def web(**keys):
    return ServiceDescription(name="web", run=keys.pop("run", "serve"), good="a", bad="b", **keys)


def test_each_limit_of_each_started_service_is_a_knob():
    limited = web(limits={"open_files": 40, "memory_mb": 9}, run="ulimit -n 7; ulimit -S -u 5 && ulimit -Hv 99; serve")
    stubbed = ServiceDescription(name="rates", run="serve", limits={"open_files": 1})
    panel = interventions.limits(runner_of(limited, stubbed, stubbed=["rates"]))
    assert [one.label for one in panel.knobs] == [
        "web: memory_mb 9", "web: open_files 40", "web: ulimit -n 7", "web: ulimit -u 5", "web: ulimit -v 99"
    ]  # fmt: skip
    files = next(one for one in panel.knobs if one.key == "open_files")
    lifted = panel.turned([files]).services[0]
    assert (lifted.limits, lifted.run) == ({"memory_mb": 9}, limited.run)
    assert panel.opposite([files]).services[0].limits == {"open_files": 40}
    assert interventions.limits(runner_of(web())) is None


def test_only_the_lifted_ulimit_has_no_effect_in_child_shells_too():
    described = web(run='ulimit -n 41; ulimit -c 0; bash -c "ulimit -n; ulimit -n 39; ulimit -n; ulimit -c"')
    panel = interventions.limits(runner_of(described))
    seen = []
    for turned in ([], [one for one in panel.knobs if one.key == "-n"]):
        script = panel.turned(turned).services[0].run
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script], capture_output=True, text=True, check=True
        )
        seen.append(done.stdout.split())
    assert seen == [["41", "39", "0"], ["0"]], "a lifted one says and sets nothing"


@given(ENVIRONMENTS, ENVIRONMENTS, st.sets(st.sampled_from("ABCDE")))
def test_turned_variables_are_exchanged_and_no_others(good, bad, wanted):
    panel = interventions.variables(runner_of(web(environment=bad, good_environment=good)))
    differing = {name for name in {*good, *bad} if good.get(name) != bad.get(name)}
    assert {one.key for one in panel.knobs} == differing if panel else not differing
    if panel is None:
        return
    turned = [one for one in panel.knobs if one.key in wanted]
    now = panel.turned(turned).services[0]
    for name in "ABCDE":
        ours, theirs = (good, bad) if name in wanted else (bad, good)
        assert (now.environment.get(name), now.good_environment.get(name)) == (ours.get(name), theirs.get(name))


def test_configurations_that_are_alike_or_not_known_give_no_knob():
    assert interventions.variables(runner_of(web(environment={"A": "1"}))) is None
    assert interventions.variables(runner_of(web(environment={"A": "1"}, good_environment={"A": "1"}))) is None


def answer(target, status=200, **keys):
    return StubAnswer(span="t/s", method="GET", target=target, status=status, **keys)


NAMES = st.lists(st.sampled_from(["/a", "/b", "/c"]), max_size=4)


@given(NAMES, NAMES, st.sets(st.sampled_from(["/a", "/b", "/c"])))
def test_what_is_left_faulty_is_answered_as_captured_only(failing, healthy, left):
    asked = {"rates": [answer(target, 503) for target in failing]}
    known = {"rates": [answer(target) for target in healthy]}
    given_ = interventions._answered(asked, known, {("rates", f"GET {target}") for target in left})["rates"]
    for target in left:
        assert {one.status for one in given_ if one.target == target} <= {503}
    for target in {*failing} - left:
        statuses = [one.status for one in given_ if one.target == target]
        assert statuses == [200] * len(statuses) if healthy else statuses == [503] * len(statuses)


@pytest.mark.parametrize(
    ("captured", "said"),
    [
        (answer("/r", 503), "(503, in health 200)"),
        (answer("/r", None, ended="timeout"), "(never answered, in health 200)"),
        (answer("/r", None, ended="refused"), "(refused, in health 200)"),
        (answer("/r", 200, delay_s=2.0), "(200 after 2.00 s, in health 200 after 0.00 s)"),
        (answer("/r", 200), "(200, as in health, but with another answer)"),
    ],
)
def test_a_call_is_told_by_how_it_was_answered_and_how_in_health(captured, said):
    (knob,) = interventions._call_knobs([{"rates": [captured]}], {"rates": [answer("/r")]})
    assert (knob.service, knob.key, knob.label) == ("rates", "GET /r", f"rates: GET /r {said}")


def test_a_call_of_which_no_healthy_answer_is_known_is_no_knob():
    assert interventions._call_knobs([{"rates": [answer("/r", 503)]}], {"rates": [answer("/r", 500)]}) == []
    assert interventions._call_knobs([{"rates": [answer("/r", 503)]}], {}) == []


def shown(asked, *statuses, as_failure=False):
    seen = [AnswerSeen(id="r1", role="failing", status=s, seconds=0.1, as_failure=as_failure) for s in statuses]
    return Shown(RunOutcome(judgement="bad", answers=seen), {}, {}, asked=asked)


@pytest.mark.parametrize(
    ("bad", "good", "found"),
    [
        ([{"rates GET /eur ": 1}] * 2, {"rates GET /eur ": 1}, ""),
        ([{"rates GET /eur ": 1}] * 2, {"rates GET /EUR ": 1}, "rates GET /EUR "),
        ([{"rates GET /eur ": 1}] * 2, {"rates GET /eur ": 2}, "rates GET /eur "),
        ([{"rates POST /pay aa": 1}] * 2, {"rates POST /pay bb": 1}, "rates POST /pay bb"),
        ([{"rates POST /pay aa": 1}, {"rates POST /pay ab": 1}], {"rates POST /pay bb": 1}, ""),
        ([{"rates GET /p/17 ": 1}, {"rates GET /p/18 ": 1}], {"rates GET /p/19 ": 1}, ""),
        ([{"rates GET /p/17 ": 1}, {"rates GET /p/18 ": 1}], {"rates GET /q/19 ": 1}, "rates GET /q/<*>"),
    ],
)
def test_calls_that_only_good_makes_are_seen_made_up_values_left_out(bad, good, found):
    lesson = Lesson(runner_of(web()), good=[shown(good, 500)], bad=[shown(one, 500) for one in bad])
    assert lesson.otherwise() == found
    assert lesson.fails_at_good()


def test_under_load_it_is_not_the_number_of_calls_that_counts():
    lesson = Lesson(
        runner_of(web(), way="load"), good=[shown({"rates GET /a ": 9}, 200)], bad=[shown({"rates GET /a ": 2}, 500)]
    )
    assert lesson.otherwise() == ""
    assert not lesson.fails_at_good()


def test_good_that_failed_in_each_run_is_told_from_one_that_did_now_and_then():
    always = Lesson(runner_of(web()), good=[shown({}, 500, as_failure=True)] * 2)
    assert always.always_fails_at_good()
    assert not Lesson(runner_of(web()), good=[*always.good, shown({}, 200)]).always_fails_at_good()
    assert not Lesson(runner_of(web())).always_fails_at_good()


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
def test_bad_is_told_from_good_only_where_good_never_fails_and_chance_is_no_reason(fails, more, good_fails):
    runs = fails + more
    told = _tells_apart(fails, runs, good_fails)
    assert not (told and (good_fails or not fails))
    if told:
        assert _tells_apart(min(fails + 1, runs), runs, 0), "more failures never tell less"
    assert _tells_apart(max(fails, 1), max(fails, 1), 0), "each run fails, and no run of good"


@pytest.mark.parametrize(("fails", "told"), [(5, False), (6, True)])
def test_five_of_ten_may_be_chance_six_are_not(fails, told):
    assert _tells_apart(fails, 10, 0) is told
