"""The kernel's benches do what their figures say: nothing here is measured, all of it is run small."""

import shutil

import pytest

from bench import hits, joins, storms

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def watching(bpf):
    if not shutil.which("gcc"):
        pytest.skip("the storm needs gcc")


def test_both_joins_give_every_event_its_span():
    found = joins.measure(turns=1, events=20_000, spans=2_000)
    assert found.joined == 20_000
    assert {len(turns) for turns in (found.ours, found.numbers, found.texts, found.counted)} == {1}


def test_every_failing_call_of_a_storm_is_delivered(watching, tmp_path):
    storm = storms.watched(storms.built(tmp_path), 0.3)
    assert storm.calls > 0
    assert storm.lost == 0
    assert storm.delivered >= storm.calls


def test_each_part_of_a_probe_costs_more_than_an_empty_one(watching):
    found = hits.measure(turns=1, hits=2_000)
    assert set(found) == set(hits.PARTS)
    assert found["empty"][0] > 0
    assert found["record"][0] > found["empty"][0]
