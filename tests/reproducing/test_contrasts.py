"""Where nothing in a capture tells the failure, good does: what differs, which difference is chosen, and on what."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butfor.evidence.incidents import Symptom
from butfor.evidence.timelines import RequestSeen
from butfor.ports.benches import Bench
from butfor.reproducing import Workshop, contrast
from butfor.reproducing.contrasts import Difference, _shows, choose, differences
from butfor.reproducing.expectations import Said

from . import planted

WORDS = st.frozensets(st.text("abcdefgh", min_size=1, max_size=3), max_size=12)


def says(words: str, *, status: int | str = 200, kind: str = "text", headers: dict[str, str] | None = None) -> Said:
    return Said(status, kind, frozenset(words.split()), headers or {}, "", "healthy")


def test_another_status_is_a_difference_that_needs_no_property():
    (found,) = differences({"r3": says("fine")}, {"r3": says("no", status=404)})
    assert (found.index, found.status, found.answer) == (3, 404, None)


def test_words_that_only_this_answer_lost_are_named():
    good = {"r0": says("a b c you-sent agent"), "r1": says("a b c home")}
    bad = {"r0": says("a b c you-sent"), "r1": says("a b c home")}
    (found,) = differences(good, bad)
    assert found.index == 0
    assert found.answer is not None
    assert (found.answer.kind, json.loads(found.answer.value)) == ("tokens_lost", ["agent"])


def test_what_other_answers_lost_too_is_drift():
    good = {f"r{n}": says(f"footer old page{n} says{n} this{n}") for n in range(3)}
    bad = {f"r{n}": says(f"footer page{n} says{n} this{n}") for n in range(3)}
    assert differences(good, bad) == []


def test_a_header_that_changed_is_told_by_its_value():
    good = {"r0": says("x", headers={"cache-control": "private"}), "r1": says("y")}
    bad = {"r0": says("x", headers={"cache-control": "public"}), "r1": says("y")}
    (found,) = differences(good, bad)
    assert found.answer is not None
    assert (found.answer.kind, found.answer.value) == ("header_is", "cache-control: public")


def test_a_header_that_only_one_answer_lost_is_told_by_its_absence():
    before, now = frozenset({"etag", "x-old", "date"}), frozenset({"date"})
    good = {"r0": replace(says("x"), names=before), "r1": replace(says("y"), names=frozenset({"x-old", "date"}))}
    bad = {"r0": replace(says("x"), names=now), "r1": replace(says("y"), names=now)}
    (found,) = differences(good, bad)
    assert found.answer is not None
    assert (found.index, found.answer.kind, found.answer.value) == (0, "header_missing", "etag")


def chosen(symptom: Symptom, good: dict[str, Said], bad: dict[str, Said]):
    requests = [
        RequestSeen(
            span=f"t/{n}", service="s", method="GET", route=f"/{n}", target=f"/{n}", status=200, ended=None,
            duration_s=0.1, start_ns=n, failed=False,
        )
        for n in range(len(good))
    ]  # fmt: skip
    return choose(differences(good, bad), requests, symptom)


def test_an_error_page_in_other_words_is_not_the_page_that_is_gone():
    good = {"r0": says("nothing here", status=404), "r1": says("the list")}
    bad = {"r0": says("not found", status=404), "r1": says("not found", status=404)}
    assert chosen(Symptom(status=404), good, bad).members == [1]


def test_another_status_is_clearer_than_other_words():
    good = {"r0": says("one two"), "r1": says("the list")}
    bad = {"r0": says("three"), "r1": says("moved", status=308)}
    assert chosen(Symptom(note="the list is gone"), good, bad).members == [1]
    assert chosen(Symptom(status=200), good, bad).members == [0]


def test_two_answers_that_are_as_wrong_decide_nothing_unless_the_route_is_named():
    good = {"r0": says("one two"), "r1": says("the list")}
    bad = {"r0": says("three"), "r1": says("moved")}
    found = chosen(Symptom(status=200), good, bad)
    assert found.members == []
    assert "name the route" in found.reason
    assert chosen(Symptom(status=200, route="/1"), good, bad).members == [1]


@given(st.dictionaries(st.integers(0, 9).map(lambda n: f"r{n}"), WORDS, max_size=6))
def test_the_same_answers_never_differ(answers):
    good = {name: Said(200, "text", words, {}, "", "healthy") for name, words in answers.items()}
    assert differences(good, dict(good)) == []


@given(WORDS, WORDS)
def test_what_is_added_never_makes_an_answer_differ(words, more):
    good = {"r0": Said(200, "text", words, {}, "", "healthy")}
    bad = {"r0": Said(200, "text", words | more, {}, "", "healthy")}
    assert differences(good, bad) == []


@pytest.mark.slow
def test_the_request_that_good_answers_otherwise_is_found_among_all_that_was_captured(tmp_path):
    tmp_path.chmod(0o711)
    shas = planted.history(tmp_path / "history")
    workshop = Workshop(Bench.of_this_machine(), {"desk": tmp_path / "history"}, tmp_path / "scratch")
    described = planted.service(shas[0], shas[5])
    timelines, _ = planted.capture(workshop, described, tmp_path / "capture")
    found = contrast(timelines, [described], workshop, frozenset({"desk"}), (shas[0], shas[5]), Symptom(status=500))
    assert found.reason == ""
    assert [timelines.requests[i].status for i in found.members] == [500]
    other = contrast(timelines, [described], workshop, frozenset({"desk"}), (shas[4], shas[5]), Symptom(status=500))
    assert (other.members, other.reason) == ([], "good and bad answer all that was captured alike")


@pytest.mark.parametrize(
    ("symptom", "status", "shown"),
    [
        (Symptom(status=200), 200, True),
        (Symptom(status=500), 200, False),
        (Symptom(note="it is wrong"), 200, True),
        (Symptom(latency_over_ms=1000), 200, False),
        (Symptom(latency_over_ms=1000), 500, False),
        (Symptom(exception="KeyError"), 404, False),
        (Symptom(exception="KeyError"), 500, True),
        (Symptom(exception="KeyError"), "closed", True),
    ],
)
def test_an_answer_is_not_what_a_user_saw_who_waited_or_saw_an_exception(symptom, status, shown):
    request = RequestSeen(
        span="t/s", service="web", method="GET", route="/a", target="/a", status=200, ended=None, duration_s=0.1,
        start_ns=0, failed=False,
    )  # fmt: skip
    found = Difference(0, status, 1.0, None, "differs")
    assert _shows(request, found, symptom) is shown
