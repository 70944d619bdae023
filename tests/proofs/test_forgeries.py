"""Forged folders are caught; an honest one holds."""

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from butfor.cli.proofs import prove
from butfor.errors import InconclusiveError, UserError
from butfor.ports.repositories import Repository
from butfor.ports.sandboxes import detect
from butfor.reporting.proofs import Answer, Proof, Replay, copy_reproduction, exit_code, read_folder

from .conftest import FIX, HONEST, History

Forge = Callable[..., Path]
CREATED = "diff --git a/{0} b/{0}\nnew file mode 100644\n--- /dev/null\n+++ b/{0}\n@@ -0,0 +1 @@\n+x\n"


def replay(out: Path, history: History) -> dict[str, bool | None]:
    """What held, by name; the script is run as it is."""
    script = out / "repro" / "run"

    def run(commit: str) -> Answer:
        done = subprocess.run([sys.executable, script, commit, "--repo", str(repository.path)], check=False)
        return {0: "good", 1: "bad"}.get(done.returncode, "cannot tell")  # type: ignore[return-value]

    with Repository(history.path) as repository:
        proofs = list(Replay(read_folder(out), repository, run, repeats=2).proofs())
    return {proof.name: proof.held for proof in proofs}


ALL = dict.fromkeys(
    ("reproduction", "not by name", "not by reading", "transition", "necessary", "sufficient", "patch"), True
)


def test_everything_an_honest_folder_claims_holds(forge: Forge, history: History) -> None:
    assert replay(forge(), history) == ALL


@pytest.mark.parametrize("name", ["parent", "bad", "good"])
def test_a_swapped_culprit_is_no_transition_and_not_sufficient(forge: Forge, history: History, name: str) -> None:
    found = replay(forge(culprit=getattr(history, name)), history)
    assert found == {**ALL, "transition": False, "necessary": False, "sufficient": False}


@pytest.mark.parametrize(
    "patch",
    [
        "",
        "no patch at all\n",
        CREATED.format("notes.txt"),
        CREATED.format("../outside.txt"),
        CREATED.format("/tmp/outside.txt"),
        CREATED.format(".git/hooks/post-checkout"),
        FIX.replace("+works", "+broken"),
        FIX.replace(" top", " another"),
    ],
    ids=["empty", "prose", "heals nothing", "above", "absolute", "git folder", "changes nothing", "does not apply"],
)
def test_a_patch_that_heals_nothing_does_not_hold(forge: Forge, history: History, patch: str) -> None:
    found = replay(forge(patch=patch, claim="None", counterfactual={}), history)
    assert found == {"reproduction": True, "not by name": True, "not by reading": True, "patch": False}


def test_a_verified_patch_without_a_path_does_not_hold(forge: Forge, history: History) -> None:
    assert replay(forge(summary={"verified": True}), history) == {**ALL, "patch": False}


def test_a_patch_may_remove_a_file_and_put_a_folder_in_its_place(forge: Forge, history: History) -> None:
    removed = "diff --git a/other.py b/other.py\ndeleted file mode 100644\n--- a/other.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-one\n"
    out = forge(patch=FIX + removed + CREATED.format("other.py/inner.py"), claim="None", counterfactual={})
    assert replay(out, history)["patch"] is True


def test_a_patch_that_is_not_called_verified_is_not_claimed(forge: Forge, history: History) -> None:
    out = forge(claim="None", counterfactual={}, summary={"path": "patch.diff", "verified": False})
    assert "patch" not in replay(out, history)


def test_a_culprit_that_does_not_exist_does_not_hold(forge: Forge, history: History) -> None:
    assert replay(forge(culprit="f" * 40), history)["transition"] is False


def test_a_verdict_that_claims_nothing_is_inconclusive(forge: Forge) -> None:
    out = forge(claim="None", counterfactual={}, summary={}, outcome="Inconclusive", reason="no repository")
    (out / "repro" / "plan.json").unlink()
    with pytest.raises(InconclusiveError, match="no repository"):
        read_folder(out)


def test_a_proved_verdict_without_its_reproduction_is_refused(forge: Forge) -> None:
    out = forge()
    (out / "repro" / "plan.json").unlink()
    with pytest.raises(UserError, match="no reproduction"):
        read_folder(out)


def test_where_changes_conflict_the_runs_cannot_tell(tmp_path: Path, forge: Forge, history: History) -> None:
    later = tmp_path / "later"
    subprocess.run(["git", "clone", "-q", str(history.path), str(later)], check=True)
    clone = History.__new__(History)
    clone.path = later
    bad = clone.commit("app.py", "top\nbroken too\nend\n")
    out = forge(patch=FIX.replace("-broken", "-broken too"))
    (out / "repro" / "plan.json").write_text(json.dumps({"good": history.good, "bad": bad}))
    assert replay(out, clone) == {**ALL, "necessary": None}


def test_a_test_that_reads_the_code_instead_of_running_it_does_not_hold(forge: Forge, history: History) -> None:
    reads = HONEST.replace('if not shown.stdout.startswith("top"):', "if not shown.stdout:")
    assert replay(forge(script=reads), history) == {**ALL, "not by reading": False}


@pytest.mark.parametrize("code", [0, 1])
def test_a_test_that_always_gives_one_answer_reproduces_nothing(forge: Forge, history: History, code: int) -> None:
    found = replay(forge(script=f"raise SystemExit({code})"), history)
    assert found["reproduction"] is False
    assert found["not by name"] is False
    assert found["transition"] is False


def test_a_test_that_cannot_tell_proves_nothing(forge: Forge, history: History) -> None:
    assert set(replay(forge(script="raise SystemExit(125)"), history).values()) == {None}


def test_a_test_that_answers_by_commit_is_caught(forge: Forge, history: History) -> None:
    script = f"import sys; sys.exit(1 if sys.argv[1] in {[history.bad, history.culprit]!r} else 0)"
    assert replay(forge(script=script), history)["reproduction"] is False


def test_a_test_that_answers_by_tree_is_caught(forge: Forge, history: History) -> None:
    trees = [history.git("rev-parse", f"{sha}^{{tree}}") for sha in (history.bad, history.culprit)]
    script = (
        "import subprocess, sys\n"
        "tree = subprocess.run(['git', '-C', sys.argv[3], 'rev-parse', sys.argv[1] + '^{tree}'],"
        f" capture_output=True, text=True).stdout.strip()\nsys.exit(1 if tree in {trees!r} else 0)"
    )
    found = replay(forge(script=script), history)
    assert found["reproduction"] is True
    assert found["not by name"] is False


def test_a_test_that_answers_by_history_is_caught(forge: Forge, history: History) -> None:
    script = (
        "import subprocess, sys\n"
        f"done = subprocess.run(['git', '-C', sys.argv[3], 'merge-base', '--is-ancestor', '{history.culprit}',"
        " sys.argv[1]])\nsys.exit(1 if done.returncode == 0 else 0)"
    )
    assert replay(forge(script=script), history)["reproduction"] is False


def test_a_flaky_test_does_not_hold(forge: Forge, history: History, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    script = f"import pathlib\np = pathlib.Path({str(runs)!r})\nn = len(p.read_text()) if p.exists() else 0\n"
    script += "p.write_text('x' * (n + 1))\nif n == 2: raise SystemExit(0)\n" + HONEST
    assert replay(forge(script=script), history)["reproduction"] is False


def test_only_what_is_claimed_is_replayed(forge: Forge, history: History) -> None:
    out = forge(claim="Bisected", counterfactual={}, summary={})
    assert replay(out, history) == dict.fromkeys(("reproduction", "not by name", "not by reading", "transition"), True)


def test_the_repository_is_not_written(forge: Forge, history: History) -> None:
    def state() -> list[str]:
        files = sorted(path for path in (history.path / ".git").rglob("*") if path.is_file())
        return [f"{path} {hashlib.sha256(path.read_bytes()).hexdigest()}" for path in files]

    before = state()
    replay(forge(), history)
    assert state() == before


@pytest.mark.parametrize(
    ("held", "code"),
    [([True, True], 0), ([True, False, None], 1), ([True, None], 3)],
)
def test_exit_codes(held: list[bool | None], code: int) -> None:
    assert exit_code([Proof("claim", one, "method") for one in held]) == code


@pytest.mark.parametrize("path", ["../secret.diff", "/etc/passwd"])
def test_a_patch_path_outside_of_the_folder_is_refused(forge: Forge, path: str) -> None:
    with pytest.raises(UserError, match="outside"):
        read_folder(forge(summary={"path": path, "verified": True}))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"outcome": "Great"}'])
def test_a_broken_verdict_is_one_line(forge: Forge, text: str) -> None:
    out = forge()
    (out / "verdict.json").write_text(text)
    with pytest.raises(UserError, match="not a verdict") as caught:
        read_folder(out)
    assert "\n" not in str(caught.value)


def test_links_in_the_reproduction_are_refused(forge: Forge, tmp_path: Path) -> None:
    out = forge()
    (out / "repro" / "bodies").symlink_to("/etc")
    with pytest.raises(UserError, match="neither a file nor a folder"):
        copy_reproduction(out, tmp_path / "copy")


@pytest.mark.skipif(detect().kind == "none", reason="no sandbox works on this machine")
def test_prove_runs_a_foreign_script_in_the_sandbox(
    forge: Forge, history: History, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mark = tmp_path / "mark"
    script = f"try: open({str(mark)!r}, 'w')\nexcept OSError: pass\n" + HONEST
    assert prove(forge(script=script), repo=history.path, repeats=1) == 0
    assert capsys.readouterr().out.count("held ") == len(ALL)
    assert not mark.exists()
