"""`butfor demo` names its incidents, runs the one that is asked for, and tells afterwards what was planted."""

import pytest

from butfor.cli import demos
from butfor.cli.apps import run
from butfor.demo.incidents import DEFAULT, NAMES
from butfor.errors import InfrastructureError
from butfor.evaluating.incidents import read_incident, read_truth
from butfor.evaluating.scores import failed_row
from butfor.evidence.incidents import Truth
from butfor.evidence.verdicts import Verdict
from butfor.reporting.terminal import again


@pytest.fixture
def investigated(monkeypatch):
    """Replaces capture and investigation: writes the given verdict and returns the given row, by incident."""
    asked = []

    def install(**row):
        def evaluate(case, settings, progress):
            asked.append(case.name)
            if row.get("error"):
                return failed_row(case.name, row["error"])
            out = settings.out / case.name
            out.mkdir(parents=True)
            given = Verdict(outcome=row["outcome"], claim=row.get("claim", "None"), reason="because")
            (out / "verdict.json").write_text(given.model_dump_json())
            return failed_row(case.name, None) | {"verdict": str(out / "verdict.json"), **row}

        monkeypatch.setattr(demos, "evaluate", evaluate)
        return asked

    return install


def test_list_names_every_incident_and_what_a_user_sees(capsys):
    assert run(["demo", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(NAMES)
    assert [line.split()[0] for line in lines if line.endswith("(default)")] == [DEFAULT]
    assert all(len(line.split()) > 3 for line in lines)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["nowhere"], "there is no incident nowhere"), ([DEFAULT, "--all"], "give one of them")],
)
def test_wrong_usage_is_one_line_and_code_2(arguments, words, tmp_path, capsys):
    assert run(["demo", *arguments, "--out", str(tmp_path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert words in lines[0]
    assert not list(tmp_path.iterdir())


def test_the_default_incident_is_written_investigated_and_told(investigated, tmp_path, capsys):
    asked = investigated(outcome="CodeChange", claim="Proved", rank_after_bisection=1, patch_heals_second_request=True)
    assert run(["demo", "--out", str(tmp_path)]) == 0
    assert asked == [DEFAULT]
    case = tmp_path / demos.INCIDENTS / DEFAULT
    told = capsys.readouterr().out
    assert read_truth(case).culprit[:12] in told
    assert "verdict: right" in told
    assert "the patch also heals a second request that runs into the same fault" in told


def test_the_folder_may_be_named_from_where_one_is(investigated, tmp_path, capsys, monkeypatch):
    investigated(outcome="Inconclusive")
    monkeypatch.chdir(tmp_path)
    assert run(["demo", "--out", "out/demo"]) == 3
    assert (tmp_path / "out" / "demo" / demos.INCIDENTS / DEFAULT / "incident.yaml").is_file()
    capsys.readouterr()


def test_inconclusive_leaves_with_3_and_is_called_undecided(investigated, tmp_path, capsys):
    investigated(outcome="Inconclusive")
    assert run(["demo", "--out", str(tmp_path)]) == 3
    assert "verdict: undecided" in capsys.readouterr().out


def test_what_cannot_be_investigated_leaves_with_1_and_says_why(investigated, tmp_path, capsys):
    investigated(outcome=None, error="the service did not start")
    assert run(["demo", "--out", str(tmp_path)]) == 1
    assert "the service did not start" in capsys.readouterr().out


def test_ctrl_c_is_said_and_leaves_with_130(monkeypatch, tmp_path, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(demos, "evaluate", interrupted)
    assert run(["demo", "--out", str(tmp_path)]) == 130
    assert capsys.readouterr().err.splitlines()[-1].startswith("interrupted")


def test_all_runs_every_incident_and_leaves_with_the_worst(investigated, tmp_path, capsys, monkeypatch):
    asked = investigated(outcome="Inconclusive")
    monkeypatch.setattr(demos, "NAMES", NAMES[:2])
    assert run(["demo", "--all", "--out", str(tmp_path)]) == 3
    assert asked == list(NAMES[:2])
    assert (tmp_path / "demo.json").is_file()
    capsys.readouterr()


@pytest.mark.parametrize(
    ("row", "truth", "expected"),
    [
        ({"outcome": "CodeChange", "rank_after_bisection": 1}, Truth(culprit="a" * 40), True),
        ({"outcome": "CodeChange", "rank_after_bisection": 2}, Truth(culprit="a" * 40), False),
        ({"outcome": "CodeChange", "rank_after_bisection": None}, Truth(culprit="a" * 40), False),
        ({"outcome": "Dependency", "rank_after_bisection": 1}, Truth(culprit="a" * 40), False),
        ({"outcome": "Dependency", "rank_after_bisection": None}, Truth(outcome="Dependency"), True),
        ({"outcome": "CodeChange", "rank_after_bisection": 1}, Truth(outcome="Resource"), False),
        ({"outcome": "Inconclusive", "rank_after_bisection": 1}, Truth(culprit="a" * 40), None),
    ],
)
def test_right_is_the_planted_outcome_and_commit(row, truth, expected):
    assert demos.right(row, truth) is expected


def test_the_line_to_run_it_again_names_every_repository(tmp_path):
    [case] = demos.materialize(tmp_path, [DEFAULT])
    revision, own, others = demos.history(case)
    verdict = Verdict(outcome="CodeChange", claim="Proved", reason="because")
    words = again(tmp_path / "out", verdict, revision, own, others).split()
    assert words[:2] == [str(tmp_path / "out/repro/run"), read_incident(case).services[-1].bad]
    assert words[2:4] == ["--repo", str(case / "history/shop.git")]
    assert words[4:] == ["--other", f"provider={case / 'history/provider.git'}"]


def test_a_verdict_that_cannot_be_read_back_is_our_failure(tmp_path):
    (tmp_path / "verdict.json").write_text("{")
    with pytest.raises(InfrastructureError, match="cannot be read back"):
        demos.read_verdict(tmp_path / "verdict.json")


def test_the_planted_commit_is_told_by_its_subject(tmp_path):
    [case] = demos.materialize(tmp_path, [DEFAULT])
    truth = read_truth(case)
    told = demos.subject(case, truth.culprit)
    assert told.startswith(truth.culprit[:12])
    assert len(told) > 20
    assert read_incident(case).id == DEFAULT
