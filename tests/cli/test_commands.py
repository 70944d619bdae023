"""The command line itself: every wrong use is one line and exit code 2, and help is help."""

import tempfile

import pytest

from butfor.cli.apps import run
from butfor.cli.options import default_out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["investigat"], "investigate"),
        (["investigate"], "nothing to investigate"),
        (["investigate", "x", "--nonsense"], "--nonsense"),
        (["investigate", "x", "--budget", "much"], "--budget"),
        (["investigate", "x", "--budget", "0"], "--budget"),
        (["investigate", "not-there"], "does not exist"),
        (["prove"], "out"),
        (["prove", "not-there", "--repo", "not-there"], "not-there"),
        (["capture"], "nothing to run"),
        (["eval", "not-there"], "not a folder"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    said = capsys.readouterr().err.strip()
    assert words in said
    assert "\n" not in said
    assert "defect" not in said
    assert not list(tmp_path.iterdir())


def test_help_is_help(capsys):
    assert run(["--help"]) == 0
    assert run(["investigate", "--help"]) == 0
    assert run([]) == 2
    said = capsys.readouterr()
    assert said.out.count("Usage: butfor") == 3
    assert said.err == ""


@pytest.mark.parametrize(
    ("bundle", "name"),
    [("out/web/bundle", "web"), ("web/bundle.tar.zst", "web"), ("a/traces", "traces"), ("x.tar.zst", "x")],
)
def test_where_an_answer_goes_by_default(tmp_path, monkeypatch, bundle, name):
    from pathlib import Path

    monkeypatch.chdir(tmp_path)
    assert str(default_out(Path(bundle))) == f"out/{name}"


def test_ctrl_c_is_said_and_leaves_no_folder_behind(capsys, tmp_path, monkeypatch):
    from butfor.investigating import investigations
    from cli.otlp_lines import write

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(investigations, "analyse", interrupted)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    assert run(["investigate", str(write(tmp_path / "given")), "--out", str(tmp_path / "answer")]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == "interrupted; nothing half-written was left"
    assert not list((tmp_path / "temporary").iterdir())
    assert not list((tmp_path / "answer").iterdir())


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (RuntimeError("no"), 1)])
def test_what_was_bisected_is_written_when_the_rest_is_cut_short(capsys, tmp_path, monkeypatch, error, code):
    import json

    from butfor.bisecting import BisectionResult
    from butfor.evidence.verdicts import Bisection, Claim
    from butfor.investigating import investigations
    from cli.otlp_lines import write

    def cut(question, findings, *_):
        culprit = "ab" * 20
        held = Claim(method="run", held=True, runs=2)
        findings.bisected = BisectionResult(
            bisection=Bisection(first_bad=culprit), culprit=culprit, verdicts={}, transition=held
        )
        raise error

    monkeypatch.setattr(investigations, "_can_run", lambda *_: True)
    monkeypatch.setattr(investigations, "_conduct", cut)
    assert run(["investigate", str(write(tmp_path / "given")), "--out", str(tmp_path / "answer")]) == code
    verdict = json.loads((tmp_path / "answer" / "verdict.json").read_text())
    assert verdict["outcome"] == "CodeChange"
    assert verdict["claim"] == "Bisected"
    assert "what comes after was not run" in verdict["degraded"][0]
    assert "what was known by then" in capsys.readouterr().err
