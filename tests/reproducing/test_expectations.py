"""What is expected of good: what it always says, without what legitimately drifts."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butfor.reproducing import expectations
from butfor.reproducing.expectations import Said
from butfor.reproducing.plain import answers

HTML = [("Content-Type", "text/html; charset=utf-8")]
JSON = [("Content-Type", "application/json")]


def said(role: str, body: str, headers=None, status: int = 200) -> Said:
    headers = headers or HTML
    raw = body.encode()
    names = {n.lower(): answers.header_value(headers, n.lower()) for n, _ in headers}
    names = {n: v for n, v in names.items() if n not in expectations.VOLATILE}
    return Said(status, answers.kind(raw, headers), answers.tokens(raw, headers), names, answers.digest(raw), role)


def page(title: str, rows: str, version: str, footer: str = "", menu: str = "Home Search") -> str:
    return f"<title>{title}</title><nav>{menu}</nav><table>{rows}</table><footer>by desk {version}{footer}</footer>"


GOOD = {
    "f": said("failing", page("Shop", "Lamp Chair Table Sofa", "1.0")),
    "h": said("healthy", page("Books", "First Second", "1.0")),
}
BAD = {
    "f": said("failing", "Internal Server Error", status=500),
    "h": said("healthy", page("Books", "First Second", "1.4", " about us")),
}


def judge(name: str, body: str, headers=None, status: int = 200, good=GOOD, bad=BAD) -> str:
    found = {one.id: one.model_dump() for one in expectations.learn([good, good], bad)}
    return answers.compare(found[name], status, headers or HTML, body.encode())[0]


def test_the_same_bytes_are_exact_and_drift_that_healthy_pages_show_is_stable():
    assert judge("f", page("Shop", "Lamp Chair Table Sofa", "1.0")) == "exact"
    assert judge("f", page("Shop", "Lamp Chair Table Sofa", "1.3", " about us and privacy")) == "stable"


def test_a_page_that_lost_its_content_is_not_good_though_its_layout_is_whole():
    assert judge("f", page("Shop", "", "1.3", " about us")) == ""
    assert judge("f", page("Shop", "Lamp Chair", "1.3", " about us")) == ""
    assert judge("f", "") == ""


def test_a_healthy_request_must_say_what_good_and_bad_both_say():
    assert judge("h", page("Books", "First Second", "1.2")) == "stable"
    assert judge("h", page("Books", "First", "1.2")) == ""
    assert judge("h", page("Books", "First Second", "1.2"), status=500) == ""


def test_headers_that_carry_meaning_count_and_volatile_ones_do_not():
    good = {"h": said("healthy", "x", [("Content-Type", "text/plain"), ("Location", "/a?b=1"), ("Date", "now")])}
    same = [("content-type", "text/plain"), ("location", "http://else/a?b=2"), ("date", "later")]
    other = [("content-type", "text/plain"), ("location", "/b")]
    (found,) = expectations.learn([good, good], good)
    assert answers.compare(found.model_dump(), 200, same, b"x")[0] == "exact"
    assert answers.compare(found.model_dump(), 200, other, b"x")[0] == ""


def test_a_healthy_request_that_bad_answers_otherwise_is_left_out():
    bad = {**BAD, "h": said("healthy", "no", status=404)}
    assert [one.id for one in expectations.learn([GOOD, GOOD], bad)] == ["f"]


def test_an_answer_that_differs_between_two_runs_of_good_is_not_demanded():
    one = {"h": said("healthy", json.dumps({"id": "abc", "name": "Ann"}), JSON)}
    two = {"h": said("healthy", json.dumps({"id": "def", "name": "Ann"}), JSON)}
    (found,) = expectations.learn([one, two], None)
    check = lambda value: answers.compare(found.model_dump(), 200, JSON, json.dumps(value).encode())[0]  # noqa: E731
    assert check({"id": "ghi", "name": "Ann", "added": 1}) == "stable"
    assert check({"name": "Ann"}) == ""
    assert check({"id": 3, "name": "Ann"}) == ""
    assert check({"id": "ghi", "name": "Bob"}) == ""
    flapping = {"h": said("healthy", "x", status=503)}
    assert expectations.learn([one, flapping], None) == []


def test_what_hangs_on_the_healthy_requests_is_not_asked_of_the_failing_ones():
    whole = {"h": said("healthy", '{"n": 1}', JSON), "f": said("failing", '{"n": 2, "kind": "order"}', JSON)}
    alone = {"f": said("failing", '{"n": 1, "kind": "order"}', JSON)}
    found = {one.id: one for one in expectations.learn([whole, whole, alone], {"h": whole["h"]})}
    assert set(found) == {"h", "f"}
    assert '$.kind="order"' in found["f"].required
    assert not any(one.startswith("$.n=") for one in found["f"].required)


def test_json_fields_that_drift_elsewhere_are_not_demanded_but_others_are():
    def both(version: str, extra: dict) -> str:
        return json.dumps({"version": version, "rows": [{"id": 1}, {"id": 2}], **extra})

    good = {"f": said("failing", both("1", {"shop": "x"}), JSON), "h": said("healthy", both("1", {}), JSON)}
    bad = {"f": said("failing", "", JSON, 500), "h": said("healthy", both("2", {"new": True}), JSON)}
    check = lambda body: judge("f", body, JSON, good=good, bad=bad)  # noqa: E731
    assert check(both("3", {"shop": "x", "more": []})) == "stable"
    assert check(json.dumps({"version": "3", "rows": [{"id": 1}], "shop": "x"})) == ""
    assert check(both("3", {})) == ""


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


@given(json_values)
def test_an_answer_is_as_itself(value):
    body = json.dumps(value)
    assert judge("f", body, JSON, good={"f": said("failing", body, JSON)}, bad={}) == "exact"


@given(st.dictionaries(st.text(min_size=1, max_size=6), json_values, min_size=1, max_size=5), st.data())
def test_adding_a_field_is_tolerated_and_taking_one_away_is_not(value, data):
    good = {"f": said("failing", json.dumps(value), JSON)}
    assert judge("f", json.dumps({**value, "\x00new": 1}), JSON, good=good, bad={}) == "stable"
    gone = data.draw(st.sampled_from(sorted(value)))
    rest = {k: v for k, v in value.items() if k != gone}
    assert judge("f", json.dumps(rest), JSON, good=good, bad={}) == ""


@given(st.binary(max_size=300), st.sampled_from(["text/html", "application/json", "text/plain", "image/png", ""]))
def test_any_bytes_have_tokens(body, media):
    headers = [("Content-Type", media), ("Content-Encoding", "gzip")]
    assert isinstance(answers.tokens(body, headers), frozenset)
    assert isinstance(answers.tokens(body, headers[:1]), frozenset)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"a":' * 5000 + b"1" + b"}" * 5000, b"<![" * 50, b"<!DOCTYPE " * 20]
)
def test_hostile_bodies_are_bounded(body):
    for media in ("application/json", "text/html"):
        assert len(answers.tokens(body, [("Content-Type", media)])) <= answers.TOKEN_LIMIT + 1


def test_compressed_bodies_are_read():
    import gzip

    body = gzip.compress(b"Lamp Chair")
    assert answers.tokens(body, [("Content-Encoding", "gzip"), ("Content-Type", "text/plain")]) == {"Lamp", "Chair"}


def test_no_path_is_needed(tmp_path: Path):
    assert answers.kind(b"", HTML) == "empty"
    assert answers.kind(b"\x89PNG\x00\xff", []) == "bytes"


@pytest.mark.parametrize(
    ("good", "bad", "headers"),
    [
        ("currency is EUR", "currency is ['EUR']", [("Content-Type", "text/plain")]),
        ("<p>by <b>Ann &amp; Bob</b></p>", "<p>by <b>Ann &amp;amp; Bob</b></p>", HTML),
        ("<p>&lt;new&gt;</p>", "<p>&amp;lt;new&amp;gt;</p>", HTML),
    ],
)
def test_a_word_among_signs_is_not_the_word_alone(good, bad, headers):
    raw = good.encode()
    one = Said(200, answers.kind(raw, headers), answers.tokens(raw, headers), {}, "", "failing")
    asked = expectations.exactly("f", one).model_dump()
    assert answers.compare(asked, 200, headers, good.encode()) == ("stable", "")
    assert answers.compare(asked, 200, headers, bad.encode())[0] == ""


def test_what_is_stable_beside_a_changing_value_is_still_asked():
    runs = [said("failing", f"id={n};name=Ann") for n in (1, 2)]
    shared = expectations.common(runs)
    assert shared is not None
    asked = expectations.exactly("f", shared).model_dump()
    assert answers.compare(asked, 200, HTML, b"id=3;name=Ann")[0] == "stable"
    assert answers.compare(asked, 200, HTML, b"id=3;name=")[0] == ""
