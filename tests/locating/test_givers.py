"""A value's origin is named before those that pass it on."""

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butfor.locating.givers import givers_first


def placed(key, *, gives=(), reads=()):
    said = SimpleNamespace(shows=frozenset(gives), used=frozenset(reads))
    return SimpleNamespace(key=key, edit=SimpleNamespace(added=[SimpleNamespace(said=said)]))


START, LOAD, CLASS = ("app.py", "lifespan"), ("settings.py", "load"), ("settings.py", "Settings")
CHANGE = [placed(START, reads=["settings", ".timeout"]), placed(LOAD, gives=["timeout"]), placed(CLASS)]


def test_what_gives_a_value_comes_before_what_passes_it_on():
    assert givers_first(CHANGE, [START, CLASS, LOAD]) == [LOAD, START, CLASS]


def test_without_a_value_between_them_the_order_stays():
    assert givers_first([placed(START), placed(LOAD)], [START, LOAD]) == [START, LOAD]


@pytest.mark.parametrize("order", [[START, LOAD], [LOAD, START]])
def test_two_that_give_each_other_values_keep_their_order(order):
    both = [placed(START, gives=["a"], reads=[".b"]), placed(LOAD, gives=["b"], reads=[".a"])]
    assert givers_first(both, order) == order


NAMES = st.sets(st.sampled_from("abc"))


@given(st.lists(st.tuples(NAMES, NAMES), max_size=6))
def test_every_function_stays_once_whatever_they_share(parts):
    keys = [("f.py", str(n)) for n in range(len(parts))]
    change = [placed(k, gives=g, reads=[f".{n}" for n in r]) for k, (g, r) in zip(keys, parts, strict=True)]
    assert sorted(givers_first(change, keys)) == keys
