"""A model's answer becomes a candidate, or a stated reason; the prompt holds no captured value."""

from pathlib import Path

import pyarrow as pa
import pytest

from bisecting.histories import FakeRunner, History
from butfor.bisecting import BisectionResult
from butfor.evidence.graphs import CausalGraph, Divergence, Node, Prediction, Shape, Slice
from butfor.evidence.predicates import FailurePredicate
from butfor.evidence.suspects import FunctionRef, Ranking
from butfor.evidence.telemetry import SPANS
from butfor.evidence.timelines import Timelines
from butfor.evidence.verdicts import Bisection
from butfor.investigating import analyses
from butfor.investigating.patches import first_verified
from butfor.investigating.progress import Clock, Silent
from butfor.investigating.prompts import paths_of, prompt, without_secrets
from butfor.investigating.proposals import proposed
from butfor.investigating.questions import Findings
from butfor.verifying import Verifier
from patching.test_models import completion, endpoint

GOOD, BAD = "def handle():\n    return 200\n", "def handle():\n    return 500\n"
HEALS = "--- a/app.py\n+++ b/app.py\n@@ -1,2 +1,2 @@\n def handle():\n-    return 500\n+    return 200\n"
SECRET = "AKIA" + "IOSFODNN7EXAMPLE"


@pytest.fixture
def case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An analysis and a history with a culprit, and a function that asks an endpoint which answers as told."""
    history = History(tmp_path / "repo")
    good = history.commit("good", app_py=GOOD, readme_py="#x")
    culprit = history.commit("culprit", app_py=BAD + f"KEY = '{SECRET}'\n", readme_py="#y")
    repository = history.repository(tmp_path / "scratch")
    node = Node(id="input:a", kind="input", label="GET /pay?card=4111", value="hunter2", healthy_value="letmein")
    seen = Divergence(node="input:a", detail="GET /pay?card=4111 differs", healthy_traces=2, share_of_healthy=0)
    prediction = Prediction(node="code_change:shop", intervention="revert a change", outcome="CodeChange")
    failure = FailurePredicate(service="shop", method="GET", route="/pay", status=500, exception_types=["KeyError"])
    timelines = Timelines(None, SPANS.empty_table(), pa.table({}), predicate=failure)
    functions = [FunctionRef(name="app.handle", file="app.py", line=1)]
    analysis = analyses.Analysis(
        timelines, Shape(), CausalGraph(nodes=[node], divergence=[seen]), Slice(predictions=[prediction]),
        Ranking(functions=functions),
    )  # fmt: skip
    past = analyses.History(repository, good, culprit)
    findings = Findings(bisected=BisectionResult(bisection=Bisection(), culprit=culprit, verdicts={}))

    def ask(body: bytes, **options):
        with endpoint(body, **options) as (model, asked):
            monkeypatch.setenv("BUTFOR_MODEL_BASE_URL", str(model._client.base_url))
            monkeypatch.setenv("BUTFOR_MODEL", "m")
            return list(proposed(analysis, past, findings, Silent())), asked

    yield ask, findings, analysis, past
    repository.close()


def test_a_good_answer_is_one_candidate_and_passes_the_same_checks_as_any(case):
    ask, findings, _, past = case
    (candidate,), asked = ask(completion(f"```diff\n{HEALS}```"))
    assert candidate.origin == "model"
    assert b"+    return 200" in candidate.diff
    assert findings.degraded == []
    assert len(asked) == 1
    runner = FakeRunner(past.repository)
    with Verifier(past.repository, runner, past.bad, "", good=past.good, repeats=10) as verifier:
        found = first_verified([], lambda: [candidate], verifier, Clock(Silent()).stage)
    checks = {check.name: check.passed for check in found.summary.checks}
    assert found.summary.origin == "model"
    assert checks["reproduction"] is True
    assert runner.runs >= 10


def test_an_answer_that_does_not_heal_is_reported_as_failed(case):
    ask, _, _, past = case
    (candidate,), _ = ask(completion(f"```diff\n{HEALS.replace('200', '418')}```"))
    with Verifier(past.repository, FakeRunner(past.repository), past.bad, "", good=past.good) as verifier:
        found = first_verified([], lambda: [candidate], verifier, Clock(Silent()).stage)
    assert not found.summary.verified
    assert "reproduction" in found.summary.reason


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (completion("I am sorry"), "0 diffs"),
        (completion(f"```diff\n{HEALS[:-20]}"), ""),
        (completion("```diff\n" + HEALS.replace("app.py", "../../etc/passwd") + "```"), "not a path inside"),
        (completion("```diff\n" + HEALS.replace("app.py", ".git/hooks/pre-commit") + "```"), "not one of the files"),
        (completion("```diff\n" + HEALS.replace("app.py", "other.py") + "```"), "not one of the files"),
        (completion("```diff\n" + HEALS.replace("500", "404") + "```"), "does not apply"),
        (completion("```diff\n" + HEALS.replace("+    return 200", "+    return (") + "```"), "would not parse"),
        (completion("x" * 900_000), "larger than"),
        (b"{", "m"),
    ],
)
def test_what_is_no_patch_of_the_shown_files_is_a_stated_reason(case, body, words):
    ask, findings, _, _ = case
    candidates, _ = ask(body)
    assert candidates == []
    assert len(findings.degraded) == 1
    assert words in findings.degraded[0]
    assert "\n" not in findings.degraded[0]


def test_without_a_model_or_a_culprit_nothing_is_asked_and_nothing_is_missing(case, monkeypatch):
    ask, findings, analysis, past = case
    monkeypatch.delenv("BUTFOR_MODEL", raising=False)
    assert list(proposed(analysis, past, findings, Silent())) == []
    findings.bisected = None
    _, asked = ask(completion(HEALS))
    assert asked == []
    assert findings.degraded == []


def test_the_prompt_has_all_sections_and_no_captured_value_or_secret(case):
    ask, _, analysis, past = case
    _, asked = ask(completion("no"))
    text = asked[0]["messages"][0]["content"]
    for section in ("signature", "slice", "divergence", "candidates", "standards", "task"):
        assert f"## {section}\n(nothing" not in text
        assert f"## {section}\n" in text
    for value in ("4111", "hunter2", "letmein", SECRET):
        assert value not in text
    assert "app.py at the failing revision" in text
    assert "GET /pay answering 500 with KeyError" in text
    assert prompt(analysis, past, past.bad, paths_of(past, past.bad)).text() == text


def test_overlapping_secrets_are_masked_once():
    assert without_secrets(f"a {SECRET} b") == "a *** b"
    assert without_secrets("nothing here") == "nothing here"
