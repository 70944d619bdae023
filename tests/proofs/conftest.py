"""A tiny repository with a culprit, and folders about it whose reproduction reads a file of the revision."""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

HONEST = """
import subprocess, sys
rev, repo = sys.argv[1], sys.argv[3]
git = ["git", "-c", "safe.directory=*", "-C", repo]
shown = subprocess.run([*git, "show", rev + ":app.py"], capture_output=True, text=True)
if shown.returncode:
    sys.exit(125)
if not shown.stdout.startswith("top"):
    sys.exit(125)  # as a program that ends before it serves
sys.exit(1 if "broken" in shown.stdout else 0)
"""
FIX = "diff --git a/app.py b/app.py\n--- a/app.py\n+++ b/app.py\n@@ -1,3 +1,3 @@\n top\n-broken\n+works\n end\n"
PATCH = {"path": "patch.diff", "verified": True}


class History:
    """good <- parent <- culprit <- bad, one change each."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()
        self.git("init", "--quiet", "--initial-branch=main")
        self.good = self.commit("app.py", "top\nworks\nend\n")
        self.parent = self.commit("other.py", "one\n")
        self.culprit = self.commit("app.py", "top\nbroken\nend\n")
        self.bad = self.commit("third.py", "two\n")

    def git(self, *arguments: str) -> str:
        names = {f"GIT_{who}_{what}": "t@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        env = {**os.environ, **names, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        command = ["git", "-C", str(self.path), *arguments]
        return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, name: str, text: str) -> str:
        (self.path / name).write_text(text)
        self.git("add", name)
        self.git("commit", "--quiet", "-m", f"change {name}")
        return self.git("rev-parse", "HEAD")


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    return History(tmp_path_factory.mktemp("history") / "repo")


@pytest.fixture
def forge(tmp_path: Path, history: History) -> Callable[..., Path]:
    """Write a folder that claims everything; honest unless told otherwise."""

    def write(
        script: str = HONEST, patch: str = FIX, culprit: str | None = None, summary: object = None, **changes: object
    ) -> Path:
        out = tmp_path / "out"
        (out / "repro").mkdir(parents=True)
        (out / "repro" / "run").write_text(script)
        (out / "repro" / "plan.json").write_text(json.dumps({"good": history.good, "bad": history.bad}))
        (out / "patch.diff").write_text(patch)
        held = {"held": True, "runs": 99}
        verdict = {
            "outcome": "CodeChange", "claim": "Proved", "patch": PATCH if summary is None else summary,
            "counterfactual": {"transition": held, "necessary": held, "sufficient": held},
            "bisection": {"first_bad": culprit or history.culprit},
            "reproduction": {"path": "repro", "bad_runs": 99, "bad_failures": 99, "good_runs": 99},
            **changes,
        }  # fmt: skip
        (out / "verdict.json").write_text(json.dumps(verdict))
        return out

    return write
