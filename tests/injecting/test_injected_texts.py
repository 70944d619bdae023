"""Lines that are put together by hand say what a JSON encoder would have said."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from butfor_inject.texts import attributes, listed, members, pairs, text

PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.text(), st.floats(allow_nan=False, allow_infinity=False))
VALUES = st.recursive(PLAIN, lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)), max_leaves=8)
KEYS = st.from_regex(r"[a-z_.]{1,12}", fullmatch=True)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(KEYS, VALUES))
def test_an_object_reads_back(values):
    assert json.loads(members(values)) == values
    assert json.loads(members({"inner": members(values), "all": listed([text(v) for v in values.values()])})) == {
        "inner": values, "all": list(values.values()),
    }  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.text(), st.text())))
def test_headers_read_back(headers):
    line = members({"headers": pairs(headers)})
    assert json.loads(line)["headers"] == [list(pair) for pair in headers]
    assert line.isascii()


def test_a_header_that_is_no_text_is_written_as_one():
    assert json.loads(pairs([("a", "b"), ("n", 7)])) == [["a", "b"], ["n", "7"]]


def test_attributes_are_typed_as_otlp_has_them():
    said = json.loads(attributes({"a": 1, "b": True, "c": 'x"\ud800\n', "d": None, "e": ValueError("no")}))
    assert said == [
        {"key": "a", "value": {"intValue": "1"}}, {"key": "b", "value": {"boolValue": True}},
        {"key": "c", "value": {"stringValue": 'x"\ud800\n'}}, {"key": "e", "value": {"stringValue": "no"}},
    ]  # fmt: skip
