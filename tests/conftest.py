"""What all tests share: properties without deadlines, and whether this machine can be watched from the kernel."""

import os

import pytest
from butfor_agent import building, trials
from hypothesis import settings

# a property is judged by what it finds, not by how long a busy machine took to find it
settings.register_profile("butfor", deadline=None)
settings.load_profile("butfor")


_TIMED = {"slow", "e2e"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs real services on a busy machine is tried once more; the summary names each that needed it.

    Not what is marked `once`: that nothing was given to the wrong span must hold each time.
    """
    for item in items:
        marks = {mark.name for mark in item.iter_markers()}
        if _TIMED & marks and "once" not in marks:
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def bpf():
    """Skips where the machine cannot do it; where it can, an agent that does not start is a failure."""
    if os.geteuid():
        pytest.skip("kernel events need root")
    if reason := building.lacking():
        pytest.skip(reason)
    state, why = trials.tried()["raw_tracepoint"]
    if state != "yes":
        pytest.skip(f"the kernel takes no raw tracepoints: {why}")
