"""An investigation that is ended from outside leaves what its runs have shown."""

import json

import pytest

from butfor.evaluating.evaluations import Settings, evaluate
from butfor.investigating.progress import Silent

from .test_contrasting import history, incident


class Ending(Silent):
    """Reads the verdict as a stage begins, and ends the investigation at `patch`, as SIGTERM does."""

    def __init__(self, path):
        self.path, self.seen = path, {}

    def stage(self, name):
        self.seen[name] = json.loads(self.path.read_text()) if self.path.exists() else None
        if name == "patch":
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.e2e
def test_what_was_shown_is_on_disk_before_the_next_stage_and_after_an_interruption(tmp_path):
    tmp_path.chmod(0o711)
    shas = history(tmp_path / "wrong" / "history")
    case = incident(tmp_path / "wrong", shas[0], shas[4], {"status": 200})
    path = tmp_path / "out" / "wrong" / "verdict.json"
    progress = Ending(path)
    with pytest.raises(KeyboardInterrupt):
        evaluate(case, Settings(out=tmp_path / "out"), progress)
    assert progress.seen["bisect"] is None
    named, claimed, last = progress.seen["counterfactual"], progress.seen["patch"], json.loads(path.read_text())
    assert (named["claim"], named["bisection"]["first_bad"]) == ("Bisected", shas[3])
    assert (claimed["claim"], last["claim"]) == ("Proved", "Proved")
    assert any("still running" in one for one in claimed["degraded"])
    assert any("interrupted" in one for one in last["degraded"])
    assert not any("still running" in one for one in last["degraded"])
    assert not list(path.parent.glob("*.tmp*"))
