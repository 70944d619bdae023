"""Real small repositories whose program fails or not by what its files hold, and a runner that executes them."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from butfor.evidence.runs import RunOutcome, SuiteOutcome, Tree
from butfor.ports.repositories import Repository

ENVIRONMENT = {
    **os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b",
}  # fmt: skip


@dataclass
class History:
    """A work tree in which commits are made; time moves on by a minute with each."""

    path: Path
    clock: int = 1_700_000_000

    def __post_init__(self) -> None:
        self.path.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str, check: bool = True) -> str:
        self.clock += 60
        dates = {"GIT_AUTHOR_DATE": f"{self.clock} +0000", "GIT_COMMITTER_DATE": f"{self.clock} +0000"}
        done = subprocess.run(
            ["git", *arguments], cwd=self.path, env=ENVIRONMENT | dates, capture_output=True, text=True, check=False
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    def commit(self, subject: str, **files: str | None) -> str:
        """Keys are paths with `__` for `/` and `_py` at the end for `.py`."""
        for key, text in files.items():
            name = key.replace("__", "/")
            name = name.removesuffix("_py") + ".py" if name.endswith("_py") else name
            path = self.path / name
            if text is None:
                path.unlink()
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD")

    def repository(self, scratch: Path) -> Repository:
        scratch.mkdir(exist_ok=True)
        return Repository(self.path, scratch)


@dataclass
class FakeRunner:
    """Judges a tree by executing `app.py` of it: `handle()` returns 200 (good), 500 (bad), else cannot tell.

    `healthy()` (if there is one) must return 200 as well. `verdicts` overrides by revision.
    """

    repository: Repository
    verdicts: dict[str, str] = field(default_factory=dict)
    good_answer: object = 200
    bad_answer: object = 500
    runs: int = 0
    trees: list[Tree] = field(default_factory=list)

    def run(self, tree: Tree, *, healthy: bool = True, keep_telemetry: Path | None = None) -> RunOutcome:  # noqa: ARG002
        self.runs += 1
        self.trees.append(tree)
        if tree.revision in self.verdicts and not tree.overlay:
            return RunOutcome(judgement=self.verdicts[tree.revision])
        return judge(self.repository, tree, healthy=healthy, good=self.good_answer, bad=self.bad_answer)

    def suite(self, tree: Tree, script: str, *, timeout_s: float = 900) -> SuiteOutcome:  # noqa: ARG002
        raise AssertionError("no suite here")


def read(repository: Repository, tree: Tree, path: str) -> bytes | None:
    return tree.overlay[path] if path in tree.overlay else repository.show(tree.revision, path)


def judge(repository: Repository, tree: Tree, *, healthy: bool, good: object, bad: object) -> RunOutcome:
    """Executes every top-level module of the tree in one namespace, helpers first, `app.py` last."""
    paths = sorted(set(repository.files(tree.revision)) | set(tree.overlay))
    modules = [p for p in paths if p.endswith(".py") and "/" not in p and not p.startswith("test_") and p != "app.py"]
    space: dict[str, object] = {}
    try:
        for path in [*modules, "app.py"]:
            exec((read(repository, tree, path) or b"").decode(), space)
    except Exception as error:
        return RunOutcome(judgement="unknown", reason=f"does not start: {error!r}", started=False)
    try:
        answer = space["handle"]()
        if answer == bad:
            return RunOutcome(judgement="bad", exceptions=["E"])
        if answer != good:
            return RunOutcome(judgement="unknown", reason=f"answered {answer}")
        if healthy and "healthy" in space and space["healthy"]() != 200:
            return RunOutcome(judgement="unknown", reason="a healthy request got another answer")
    except Exception as error:
        return RunOutcome(judgement="unknown", reason=repr(error))
    return RunOutcome(judgement="good")
