"""Many moments are looked up group by group: the answer is that of one search after the other."""

import numpy as np
import pytest

from butfor.correlating import intervals
from butfor.correlating.intervals import Starts


@pytest.mark.parametrize("groups", [3, 1 << 16])
def test_many_at_once_are_found_as_few_are(monkeypatch, groups):
    drawn = np.random.default_rng(groups)
    group, start = np.sort(drawn.integers(0, groups, 500)), drawn.integers(0, 1000, 500)
    by = np.lexsort((start, group))
    starts = Starts(group[by].astype(np.int64), start[by].astype(np.int64))
    asked, time = drawn.integers(-1, groups, 4000), drawn.integers(-10, 1100, 4000)
    few = starts.last(asked, time)
    monkeypatch.setattr(intervals, "_FEW", 0)
    assert np.array_equal(starts.last(asked, time), few)
    assert (few >= 0).any()
