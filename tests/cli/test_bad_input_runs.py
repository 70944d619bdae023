"""Revisions and services that do not behave as told, on one real capture: Inconclusive with the reason, never a guess."""

import json

import pytest
import yaml

from butfor.cli.apps import run
from butfor.evaluating.evaluations import Settings, evaluate, question
from butfor.evaluating.incidents import read_incident
from butfor.investigating.investigations import investigate
from butfor.investigating.progress import Silent
from cli.small_shop import incident
from cli.test_bad_input_repositories import fingerprint

pytestmark = [pytest.mark.slow, pytest.mark.e2e]
SERVICE = {"name": "shop", "run": "exec python app.py", "ready": {"path": "/health"}}


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """Case, its repository and culprit, settings, and the row of its evaluation."""
    top = tmp_path_factory.mktemp("shop")
    case, repository, culprit = incident(top)
    settings = Settings(out=top / "out")
    before = fingerprint(repository.path)
    row = evaluate(case, settings, Silent())
    assert fingerprint(repository.path) == before
    return case, repository, culprit, settings, row


def told(verdict):
    """What a verdict says, without times and the order of runs."""
    facts = verdict["counterfactual"]
    return {
        "outcome": verdict["outcome"], "claim": verdict["claim"], "first": verdict["suspects"][0]["commit"],
        "predicate": verdict["predicate"] | {"evidence": []}, "ranked": verdict["rank_before_runs"],
        "functions": verdict["functions"], "first_bad": verdict["bisection"]["first_bad"],
        "held": {name: claim["held"] for name, claim in facts.items()}, "patch": verdict["patch"]["verified"],
    }  # fmt: skip


def test_the_verdict_is_the_same_without_load_and_truth(evaluated, tmp_path):
    case, _, culprit, settings, row = evaluated
    assert (row["error"], row["claim"], row["rank_after_bisection"]) == (None, "Proved", 1)
    first = told(json.loads((settings.out / "shop-price" / "verdict.json").read_text()))
    assert first["first"] == culprit
    (case / "truth.yaml").unlink()
    content = yaml.safe_load((case / "incident.yaml").read_text())
    del content["load"]
    (case / "incident.yaml").write_text(yaml.safe_dump(content))
    left = read_incident(case)
    bundle, histories = settings.out / "shop-price" / "bundle", {"shop": case / "history"}
    verdict = investigate(question(left, case, histories, bundle, tmp_path, settings), settings.bench, Silent())
    assert told(json.loads(verdict.model_dump_json())) == first


@pytest.mark.parametrize(
    ("good", "bad", "service", "words"),
    [
        ("v1", "{culprit}~1", {}, "bad does not fail"),
        ("{culprit}", "v2", {}, "good fails too"),
        ("v1", "v2", {"run": "exit 3"}, "does not start"),
        ("v1", "v2", {"run": "sleep 1; echo ready >&2"}, "does not start"),
        ("v1", "v2", {"setup": "echo no such package >&2; exit 1"}, "no such package"),
        ("v1", "v2", {"run": "exec python other.py"}, "does not start"),
    ],
)
def test_what_does_not_behave_as_told_is_inconclusive(evaluated, tmp_path, capsys, good, bad, service, words):
    _, repository, culprit, settings, _ = evaluated
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump(SERVICE | service))
    before = fingerprint(repository.path)
    arguments = ["--good", good.format(culprit=culprit), "--bad", bad.format(culprit=culprit)]
    arguments += ["--repo", str(repository.path), "--service", str(tmp_path / "shop.yaml"), "--out", str(tmp_path)]
    assert run(["investigate", str(settings.out / "shop-price" / "bundle"), *arguments]) == 3
    assert fingerprint(repository.path) == before
    said, verdict = capsys.readouterr(), json.loads((tmp_path / "verdict.json").read_text())
    assert verdict["outcome"] == "Inconclusive"
    assert verdict["claim"] in {"Suspected", "None"}
    assert words in verdict["reason"]
    assert verdict["next_step"]
    assert words in said.out
    assert "Traceback" not in said.err


def test_a_harness_that_flakes_never_blames_a_wrong_commit(evaluated, tmp_path):
    _, repository, culprit, settings, _ = evaluated
    flaky = "test $((RANDOM % 3)) != 0 || exit 1; exec python app.py"
    (tmp_path / "shop.yaml").write_text(yaml.safe_dump(SERVICE | {"run": flaky}))
    arguments = ["--repo", str(repository.path), "--good", "v1", "--bad", "v2", "--out", str(tmp_path)]
    bundle = settings.out / "shop-price" / "bundle"
    code = run(["investigate", str(bundle), *arguments, "--service", str(tmp_path / "shop.yaml"), "--budget", "1"])
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    assert code in {0, 3}
    assert verdict["bisection"]["first_bad"] in {None, culprit}
    assert verdict["reason"]
