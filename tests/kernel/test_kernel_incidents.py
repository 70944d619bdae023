"""Incidents that no answer shows: the kernel tells the failure before anything is run; without it there is none."""

import sys
from pathlib import Path

import pytest

from butfor.evaluating.evaluations import Settings, evaluate
from butfor.evidence.predicates import KernelFailure
from butfor.evidence.verdicts import Verdict
from butfor.investigating.progress import Silent

sys.path.insert(0, str(Path(__file__).parent))
import incidents

pytestmark = [pytest.mark.slow, pytest.mark.e2e]
TOLD = {
    "descriptor-leak": ("open", "EMFILE", "file"),
    "native-crash": ("signal", "SIGSEGV", "process"), "swallowed-refusal": ("connect", "ECONNREFUSED", "inet"),
}  # fmt: skip


@pytest.mark.usefixtures("objects")
@pytest.mark.parametrize("name", sorted(TOLD))
def test_what_no_answer_shows_is_told_by_the_kernel(tmp_path, name):
    case = incidents.INCIDENTS[name](tmp_path / "cases" / name)
    told = [
        verdict_of(evaluate(case, Settings(out=tmp_path / way, analyse_only=True, **more), Silent()))
        for way, more in (("with", {}), ("without", {"without": frozenset({"kernel"}), "bundles": tmp_path / "with"}))
    ]
    kind, errno, target = TOLD[name]
    assert told[0].predicate.by_kernel
    assert told[0].predicate.kernel == [KernelFailure(kind=kind, errno=errno, target_type=target)]
    assert told[0].population.failing >= 2
    assert (told[1].outcome, told[1].predicate) == ("Inconclusive", None)


def verdict_of(row):
    assert row["error"] is None, row["error"]
    return Verdict.model_validate_json(Path(row["verdict"]).read_text())
