"""A claim that one merge cannot show is looked for anew; a forged one is not found."""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from butfor.evidence.runs import Tree
from butfor.investigating.rederiving import AnswerRunner, rederive
from butfor.ports.repositories import Repository
from butfor.reporting.proofs import Answer, Replay, read_folder

from .conftest import FIX, History


def replayed(out: Path, history: History) -> dict[str, tuple[bool | None, str]]:
    script = out / "repro" / "run"

    def run(commit: str) -> Answer:
        done = subprocess.run([sys.executable, script, commit, "--repo", str(repository.path)], check=False)
        return {0: "good", 1: "bad"}.get(done.returncode, "cannot tell")  # type: ignore[return-value]

    with Repository(history.path) as repository:
        search = partial(rederive, repository)
        proofs = list(Replay(read_folder(out), repository, run, repeats=1, search=search).proofs())
    return {proof.name: (proof.held, proof.method) for proof in proofs}


@pytest.fixture
def later(tmp_path: Path, forge: Callable[..., Path]) -> tuple[Path, History]:
    history = History(tmp_path / "later")
    bad = history.commit("app.py", "top\nbroken\nother\n")
    out = forge(culprit=history.culprit, patch=FIX.replace(" end", " other"))
    (out / "repro" / "plan.json").write_text(json.dumps({"good": history.good, "bad": bad}))
    return out, history


def test_a_conflict_of_neighbours_is_taken_apart(later: tuple[Path, History]) -> None:
    out, history = later
    found = replayed(out, history)
    assert found["necessary"] == (True, "hunk by hunk, source files only")
    assert found["sufficient"][0] is True
    assert {held for held, _ in found.values()} == {True}


def test_another_commit_is_not_found_to_be_necessary(later: tuple[Path, History]) -> None:
    out, history = later
    verdict = json.loads((out / "verdict.json").read_text())
    verdict["bisection"]["first_bad"] = history.git("rev-parse", "HEAD~1")
    (out / "verdict.json").write_text(json.dumps(verdict))
    found = replayed(out, history)
    assert found["transition"][0] is False
    assert found["necessary"][0] is False
    assert found["sufficient"][0] is not True


@pytest.mark.parametrize(("said", "judged"), [("good", "good"), ("bad", "bad"), ("cannot tell", "unknown")])
def test_what_is_answered_is_what_is_judged(said: str, judged: str) -> None:
    runner = AnswerRunner(lambda _: said)
    assert runner.run(Tree(revision="x")).judgement == judged
    assert runner.runs == 1
    assert runner.suite(Tree(revision="x"), "pytest").exit_code == -1
