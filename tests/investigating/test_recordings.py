"""A recording never passes for a live capture where one could be had."""

from types import SimpleNamespace

import pytest

from butfor.errors import UserError
from butfor.investigating import investigations


def findings(mode):
    bundle = SimpleNamespace(manifest=SimpleNamespace(mode=mode))
    return SimpleNamespace(
        analysis=SimpleNamespace(timelines=SimpleNamespace(telemetry=SimpleNamespace(bundle=bundle)))
    )


@pytest.mark.parametrize(
    ("mode", "allowed", "possible", "refused"),
    [("recorded", False, True, True), ("recorded", True, True, False), ("recorded", False, False, False),
     ("live", False, True, False)],
)  # fmt: skip
def test_a_recording_is_refused_where_the_kernel_can_be_watched(monkeypatch, mode, allowed, possible, refused):
    monkeypatch.setattr(investigations, "examined", list)
    monkeypatch.setattr(investigations, "works", lambda _: possible)
    question = SimpleNamespace(recorded=allowed)
    if refused:
        with pytest.raises(UserError, match="--recorded"):
            investigations._live(question, findings(mode))
    else:
        investigations._live(question, findings(mode))
