"""How long a start is waited for, from how long others took."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from butfor.ports.benches import Bench
from butfor.reproducing import Workshop
from butfor.reproducing.assembling import ENOUGH_STARTS, SHORTEST_START_S, START_TIMEOUT_S


@given(st.lists(st.floats(0, 200), max_size=20))
def test_a_start_that_was_seen_is_always_waited_for(starts):
    waited = Workshop(Bench.of_this_machine(), {}, Path("/nowhere"), starts=starts).start_timeout()
    assert min(SHORTEST_START_S, START_TIMEOUT_S) <= waited <= START_TIMEOUT_S
    assert waited >= min(START_TIMEOUT_S, max(starts, default=0.0))
    assert waited == START_TIMEOUT_S or len(starts) >= ENOUGH_STARTS
