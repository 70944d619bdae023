"""From interventions that were run to an outcome, its claims, its words, and predictions that they settle."""

import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butfor.evidence.graphs import Prediction, Slice
from butfor.evidence.reproductions import Reproduction
from butfor.evidence.runs import RunOutcome, Tree
from butfor.evidence.suspects import Ranking
from butfor.investigating import outcomes
from butfor.investigating.analyses import Analysis
from butfor.patching import Intervention, claims, decide_outcome, deciding, intervene
from butfor.reproducing import Reproduced
from butfor.reproducing.interventions import Knob, Panel


def tried(kind, healed=True, returned=True, **keys):
    judgements = ["good"] * 3 + ["bad"] * 3
    return Intervention(kind, f"{kind} set", healed, returned, 6, "why", judgements, healed_runs=3, **keys)


def test_the_words_name_what_was_set_and_what_the_runs_showed():
    one = tried("Dependency", parts=["rates: GET /r (503, in health 200)"], service="rates")
    outcome, reason = decide_outcome([one])
    assert outcome == "Dependency"
    assert "rates: GET /r (503, in health 200)" in reason
    assert "gone in 3 of 3 runs of bad" in reason
    assert "good fails too, in 3 of 3" in reason


def test_claims_rest_on_the_runs_both_ways_and_name_no_commit():
    found = claims(tried("Resource", parts=["web: open_files 4"]))
    assert found.transition.held is None
    assert "no commit" in found.transition.reason
    assert (found.necessary.held, found.necessary.runs, found.necessary.details) == (True, 3, ["web: open_files 4"])
    assert (found.sufficient.held, found.sufficient.runs) == (True, 3)


def test_a_resource_of_the_downstream_is_deeper_than_the_downstream():
    both = [tried("Dependency", service="rates"), tried("Resource", service="rates")]
    assert deciding(both).kind == "Resource"
    assert deciding([tried("Dependency", service="rates"), tried("Resource", service="web")]) is None
    assert decide_outcome([tried("Dependency", service="rates"), tried("Resource", service="web")])[0] == "Inconclusive"


def test_configuration_decides_only_where_good_fails_with_the_same_value():
    assert outcomes.decides(tried("ConfigChange"))
    assert not outcomes.decides(tried("ConfigChange", returned=False))
    assert not outcomes.decides(tried("ConfigChange", healed=False, returned=None))
    assert not outcomes.decides(None)
    assert "good is well too" in decide_outcome([tried("ConfigChange", returned=False)])[1]


class Turning:
    """A panel's runner: healthy where all of `needed` are turned; at good the other way round."""

    def __init__(self, needed, turned, seen):
        self.needed, self.turned, self.seen = needed, turned, seen

    def run(self, tree, *, healthy=True, keep_telemetry=None):  # noqa: ARG002
        self.seen.append((tree.label, frozenset(self.turned)))
        return RunOutcome(judgement="good" if self.needed <= set(self.turned) else "bad", reason="because")


def attempted(needed, keys, deadline=math.inf, repeats=outcomes.REPEATS):
    seen = []
    knobs = [Knob("web", key, f"web: {key}") for key in keys]
    panel = Panel("Resource", "set", None, knobs, lambda _, turned: Turning(needed, [k.key for k in turned], seen))
    history = SimpleNamespace(good="g", bad="b")
    return outcomes._Attempt(panel, history, repeats, lambda _: None, deadline).tried().intervention, seen


@given(st.sets(st.sampled_from("abcdefgh"), min_size=1))
def test_the_fewest_things_that_heal_are_found_and_put_back_at_good(needed):
    found, seen = attempted(needed, "abcdefgh")
    assert {part.removeprefix("web: ") for part in found.parts} == needed
    assert (found.healed, found.returned, found.healed_runs) == (True, True, 3)
    assert seen[-1] == ("good", frozenset("abcdefgh") - needed), "only the faulty ones are faulty at good"


def test_what_does_not_heal_altogether_is_not_searched_further():
    found, seen = attempted({"elsewhere"}, "abc")
    assert (found.healed, found.returned, len(seen)) == (False, None, 3)


def test_without_time_left_the_whole_set_is_what_heals():
    found, _ = attempted({"a"}, "abcd", deadline=-math.inf)
    assert (found.healed, len(found.parts)) == (True, 4)


@given(st.floats(0, 1))
def test_a_rarer_failure_takes_more_runs_to_be_gone(rate):
    repeats = outcomes.repeats_for(rate)
    assert repeats >= outcomes.REPEATS
    assert (1 - rate) ** repeats <= outcomes.MISSED or repeats > outcomes.MOST_REPEATS


def test_what_fails_too_seldom_is_not_said_to_be_healed():
    found, seen = attempted({"a"}, "ab", repeats=outcomes.MOST_REPEATS + 1)
    assert (found.healed, seen) == (None, [])
    assert "too seldom" in decide_outcome([found])[1]


@given(st.integers(0, 20), st.integers(0, 20))
def test_few_runs_never_make_certain(fails, more):
    rate = outcomes.rate_of(Reproduction(reproduced=True, bad_runs=fails + more, bad_failures=fails))
    assert 0 < rate < 1


@pytest.mark.parametrize(
    ("bad", "good", "both"), [(3, 3, True), (3, 1, True), (3, 0, False), (0, 3, False), (0, 0, False)]
)
def test_both_fail_where_each_was_seen_to(bad, good, both):
    report = Reproduction(reproduced=False, bad_runs=3, bad_failures=bad, good_runs=3, good_failures=good)
    assert outcomes.fails_at_both(Reproduced(report, SimpleNamespace())) is both
    assert not outcomes.fails_at_both(Reproduced(report, None))


def prediction(node, outcome):
    return Prediction(node=node, intervention="set it", outcome=outcome)


def test_predictions_are_confirmed_or_refuted_by_the_runs_that_tested_them():
    cut = Slice(predictions=[
        prediction("downstream:rates/CLIENT/GET /r", "Dependency"), prediction("downstream:fees/CLIENT/GET /f", "Dependency"),
        prediction("resource:web:exhausted.files", "Resource"), prediction("config:web:environment:SIZE", "ConfigChange"),
        prediction("config:web:environment:SIZES", "ConfigChange"), prediction("code_change:web", "CodeChange"),
        prediction("code_change:rates", "CodeChange"),
    ])  # fmt: skip
    analysis = Analysis(SimpleNamespace(), SimpleNamespace(), SimpleNamespace(), cut, Ranking())
    done = outcomes.marked(
        analysis,
        [tried("Dependency", parts=["rates: GET /r (503)"]), tried("Resource", healed=False, returned=None),
         tried("ConfigChange", parts=["web: $SIZE"])],
        frozenset({"web"}),
    )  # fmt: skip
    assert [one.confirmed for one in done.cut.predictions] == [True, None, False, True, None, False, None]


class Flaky:
    """Answers with the given judgements in turn."""

    def __init__(self, *judgements):
        self.judgements = list(judgements)

    def run(self, tree, *, healthy=True, keep_telemetry=None):  # noqa: ARG002
        return RunOutcome(judgement=self.judgements.pop(0))


@pytest.mark.parametrize(
    ("back", "returned"),
    [(("bad", "good"), True), (("good", "good"), False), (("good", "unknown"), None), (("unknown", "bad"), True)],
)
def test_a_failure_that_shows_now_and_then_has_returned_once_it_shows(back, returned):
    tree = Tree(revision="r")
    found = intervene("Dependency", "x", Flaky("good", "good"), tree, faulty=Flaky(*back), repeats=2)
    assert (found.healed, found.returned, found.returned_runs) == (True, returned, 2)
