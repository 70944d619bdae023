"""Incidents where no commit is to blame, and those that only look so: what is decided, claimed and said.

A few stand for all: `python -m tests.outcomes FOLDER` writes the others too, for `butfor eval FOLDER --json OUT`.
"""

import shutil
from pathlib import Path

import pytest
import yaml

from butfor.cli.proofs import prove
from butfor.errors import UserError

from . import incidents

pytestmark = [pytest.mark.slow, pytest.mark.e2e]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("provider_answers_503", ["rates: GET /rates/EUR (503, in health 200)", "rates: GET /rates/CHF"]),
        ("open_files", ["web: open_files 40"]),
        ("configured", ["web: $PART_SIZE"]),
    ],
)
def test_where_no_commit_is_to_blame_the_verdict_names_what_is(evaluated, name, said):
    done = evaluated(name)
    row, verdict = done.row, done.verdict
    assert (row["outcome"], row["claim"], row["proof_true"]) == (row["expected_outcome"], "Proved", True)
    assert all(part in verdict["reason"] for part in said), verdict["reason"]
    facts = verdict["counterfactual"]
    assert [facts[claim]["held"] for claim in ("transition", "necessary", "sufficient")] == [None, True, True]
    assert min(facts["necessary"]["runs"], facts["sufficient"]["runs"]) >= 3
    assert facts["necessary"]["details"] == [
        part for part in facts["necessary"]["details"] if part in verdict["reason"]
    ]
    assert verdict["bisection"]["first_bad"] is None
    assert (verdict["patch"]["path"], row["patch_verified"], row["patch_heals_second_request"]) == (None, False, None)
    report = Path(row["verdict"]).with_name("report.html").read_text("utf-8")
    assert all(part in report for part in said)


def test_other_variables_that_differ_are_not_named(evaluated):
    verdict = evaluated("configured").verdict
    assert verdict["counterfactual"]["necessary"]["details"] == ["web: $PART_SIZE"]
    assert not [word for word in ("COLOUR", "WORKERS") if word in verdict["reason"]]


@pytest.mark.parametrize("name", ["provider_answers_503", "open_files", "configured"])
def test_runs_confirm_or_refute_what_the_slice_predicted(evaluated, name):
    done = evaluated(name)
    predictions = done.verdict["slice"]["predictions"]
    outcome = done.row["outcome"]
    assert {one["confirmed"] for one in predictions if one["outcome"] == outcome} >= {True}
    assert [one["confirmed"] for one in predictions if one["node"] == "code_change:web"] == [False]


@pytest.mark.parametrize("name", ["wrong_request", "open_files_more"])
def test_what_only_a_commit_brings_about_is_blamed_on_it(evaluated, name):
    row = evaluated(name).row
    truth = yaml.safe_load((evaluated(name).case / "truth.yaml").read_text("utf-8"))
    assert (row["outcome"], row["claim"], row["proof_true"]) == ("CodeChange", "Proved", True)
    assert evaluated(name).verdict["bisection"]["first_bad"] == truth["culprit"]


def test_the_folder_proves_what_it_claims_and_a_forged_one_does_not(evaluated, tmp_path, capsys):
    done = evaluated("open_files")
    assert not (done.out / "ci").exists(), "a job that fails whatever is committed helps nobody"
    assert prove(done.out, done.case / "web", repeats=1) == 0
    assert capsys.readouterr().out.count("\nheld ") == 3
    forged = tmp_path / "forged"
    shutil.copytree(done.out, forged)
    test = forged / "healed" / "test_reproduction.py"
    test.write_text("def test_nothing():\n    pass\n")
    with pytest.raises(UserError, match=r"another test than repro/.*test_reproduction\.py"):
        prove(forged, done.case / "web", repeats=1)


def test_each_incident_is_told_apart_by_its_truth_alone(tmp_path):
    """Nothing but `truth.yaml` says what is to blame: titles and services are alike."""
    told = {yaml.safe_load((incidents.CASES[name](tmp_path / name) / "truth.yaml").read_text())["outcome"]
            for name in incidents.CASES}  # fmt: skip
    assert told == {"CodeChange", "ConfigChange", "Dependency", "Resource", "Inconclusive"}
