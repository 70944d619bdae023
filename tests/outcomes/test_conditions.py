"""Two reproductions are compared: the same test, and conditions that differ in what the outcome sets only."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butfor.errors import UserError
from butfor.evidence.suspects import FunctionRef, Suspect
from butfor.evidence.verdicts import Claim, Counterfactual, ReproductionSummary, Verdict
from butfor.ports.repositories import Repository
from butfor.reporting.conditions import CONDITIONS, foreign
from butfor.reporting.jobs import readme
from butfor.reporting.proofs import Folder, Replay
from butfor.reporting.sentences import headline, meaning

from . import planted

SERVICE = {"name": "web", "run": "serve", "environment": {"A": "1"}, "limits": {"open_files": 4}, "setup": ""}
PLAN = {"services": [SERVICE], "requests": [{"id": "r1"}], "stubs": {"rates": []}, "predicate": {"status": 500}}


def written(folder, plan=PLAN, **files):
    folder.mkdir()
    (folder / "plan.json").write_text(json.dumps(plan))
    for name, text in {"run": "#!run", "test_reproduction.py": "assert True", **files}.items():
        (folder / name.replace("__", "/")).parent.mkdir(exist_ok=True)
        (folder / name.replace("__", "/")).write_text(text)
    return folder


def served(**changes):
    return {**PLAN, "services": [{**SERVICE, **changes}]}


@pytest.mark.parametrize(
    ("plan", "part", "outcome"),
    [
        (served(environment={"A": "2"}), "services.environment", "ConfigChange"),
        (served(limits={}), "services.limits", "Resource"),
        (served(run="ulimit() { :; }; serve"), "services.run", "Resource"),
        ({**PLAN, "stubs": {"rates": [{"status": 200}]}}, "stubs", "Dependency"),
        ({**PLAN, "predicate": {"status": 501}}, "predicate", None),
        ({**PLAN, "requests": []}, "requests", None),
        ({**PLAN, "services": []}, "services", None),
        (served(setup="true"), "services.setup", None),
    ],
)
def test_only_what_the_outcome_sets_may_differ(tmp_path, plan, part, outcome):
    folders = written(tmp_path / "repro"), written(tmp_path / "healed", plan)
    assert {kind: foreign(*folders, kind) for kind in CONDITIONS} == {
        kind: [] if kind == outcome else [part] for kind in CONDITIONS
    }


def test_another_test_is_found_and_another_body_is_not_minded(tmp_path):
    repro = written(tmp_path / "repro", bodies__1="a")
    healed = written(tmp_path / "healed", bodies__2="b", run="exit 0", extra="x")
    assert foreign(repro, healed, "Dependency") == ["extra", "run"]


@given(text=st.one_of(st.text(), st.sampled_from(["[]", "{}", '{"services": [{}]}', '{"services": 1}', "[" * 10_000])))
def test_a_plan_that_is_none_is_said_in_one_line(tmp_path_factory, text):
    base = tmp_path_factory.mktemp("plans")
    folders = written(base / "repro"), written(base / "healed")
    (folders[1] / "plan.json").write_text(text, "utf-8", "surrogatepass")
    with pytest.raises(UserError, match=r"^healed/plan\.json is no plan"):
        foreign(*folders, "Resource")


@pytest.mark.parametrize(
    ("at_bad", "at_good", "healed", "held"),
    [
        ("bad", "bad", "good", {"reproduction": True, "necessary": True, "sufficient": True}),
        ("bad", "bad", "bad", {"reproduction": True, "necessary": False, "sufficient": True}),
        ("bad", "good", "good", {"reproduction": True, "necessary": True, "sufficient": False}),
        ("good", "bad", "good", {"reproduction": False, "necessary": True, "sufficient": True}),
        ("bad", "cannot tell", None, {"reproduction": True, "necessary": False, "sufficient": None}),
    ],
)
def test_each_claim_is_replayed_under_its_own_conditions(tmp_path, at_bad, at_good, healed, held):
    shas = planted.history(tmp_path / "repo", [("one", {"a": "1"}), ("two", {"a": "2"})])
    folder = Folder(Verdict(outcome="Resource", claim="Proved"), *shas, None)
    with Repository(tmp_path / "repo") as repository:

        def run(commit):
            return at_good if repository.show(commit, "a") == b"1" else at_bad

        replay = Replay(folder, repository, run, 2, healed=(lambda _: healed) if healed else None)
        assert {proof.name: proof.held for proof in replay.proofs()} == held


def test_the_readme_says_how_to_run_both():
    verdict = Verdict(outcome="Resource", reproduction=ReproductionSummary(path="repro", healed_path="healed"))
    text = readme(verdict, "headline")
    assert "repro/run REV" in text
    assert "healed/run REV" in text
    assert "bisect" not in text


@pytest.mark.parametrize(
    ("outcome", "part", "said"),
    [
        ("ConfigChange", "web: $SIZE", "But for a change of configuration (web: $SIZE and 1 more)"),
        ("Dependency", "rates: GET /r (503, in health 200)", "But for the answer of a dependency (rates: GET /r"),
        ("Resource", "web: open_files 4", "But for a resource limit (web: open_files 4 and 1 more)"),
    ],
)
def test_the_headline_names_the_thing_and_no_commit(outcome, part, said):
    verdict = Verdict(
        outcome=outcome, claim="Proved", suspects=[Suspect(commit="a" * 40, subject="Innocent", score=1.0)],
        counterfactual=Counterfactual(necessary=Claim(held=True, details=[part, "other"])),
        functions=[FunctionRef(name="innocent", file="a.py", line=1)],
    )  # fmt: skip
    assert headline(verdict).startswith(said)
    assert "nnocent" not in headline(verdict)
    assert "begins with this change" not in meaning(verdict)
