"""The folder of a verdict: its jobs, its README and its sentence."""

import json

import pytest
import yaml

from butfor.evidence.predicates import AnswerProperty, FailurePredicate
from butfor.evidence.suspects import FunctionRef, Suspect
from butfor.evidence.verdicts import Verdict
from butfor.reporting import report
from butfor.reporting.jobs import ci_files
from butfor.reporting.sentences import headline, symptom
from reporting.test_pages import material

PREDICATE = FailurePredicate(service="shop", method="GET", route="/pay", status=500, exception_types=["KeyError"])
SUSPECT = Suspect(commit="ab" * 20, subject="Change pay", score=3.0)


def test_the_headline_says_no_more_than_the_claim():
    functions = [FunctionRef(name="shop.pay", file="shop.py", line=3)]
    proved = Verdict(outcome="CodeChange", claim="Proved", predicate=PREDICATE, suspects=[SUSPECT], functions=functions)
    assert headline(proved).startswith("But for commit abababababab “Change pay” (shop.pay), GET /pay answering 500")
    assert "But for" not in headline(proved.model_copy(update={"claim": "Bisected"}))
    assert headline(proved.model_copy(update={"outcome": "Inconclusive"})).startswith("Not decided")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (AnswerProperty(kind="tokens_lost", value='["secret"]'), "answering 200 without part of its content"),
        (AnswerProperty(kind="header_is", value="Location: /secret"), "answering 200 with another Location header"),
        (AnswerProperty(kind="body_differs"), "answering 200 with another content"),
    ],
)
def test_a_wrong_answer_is_named_without_its_words(answer, words):
    said = symptom(PREDICATE.model_copy(update={"status": 200, "exception_types": [], "answer": answer}))
    assert said == f"GET /pay {words}"


def test_the_jobs_are_yaml_and_run_the_reproduction():
    files = ci_files()
    github = yaml.safe_load(files["ci/github-actions.yml"])
    gitlab = yaml.safe_load(files["ci/gitlab-ci.yml"])
    assert "repro/run" in github["jobs"]["reproduction"]["steps"][-1]["run"]
    assert "repro/run" in gitlab["failure-stays-fixed"]["script"][0]
    assert gitlab["failure-stays-fixed"]["allow_failure"] == {"exit_codes": [125]}


def test_what_an_earlier_verdict_left_is_removed(tmp_path):
    (tmp_path / "repro").mkdir()
    for name in ("patch.diff", "repro/plan.json", "repro/run", "notes.txt"):
        (tmp_path / name).write_text("old")
    report(Verdict(outcome="Inconclusive"), material(), tmp_path)
    names = {str(one.relative_to(tmp_path)) for one in tmp_path.rglob("*") if one.is_file()}
    assert names == {"verdict.json", "report.html", "README.txt", "notes.txt"}


def test_a_name_that_is_no_utf8_is_written_out(tmp_path):
    odd = Suspect(commit="a" * 40, score=1, files=["not-utf8-\udcff.py"], subject="\ud800")
    report(Verdict(outcome="Inconclusive", suspects=[odd]), material(), tmp_path)
    assert json.loads((tmp_path / "verdict.json").read_text())["suspects"][0]["files"] == ["not-utf8-\\udcff.py"]
    assert "\\ud800" in (tmp_path / "report.html").read_text()
