"""Runs of a tree under a reproduction: what is executed, what was seen, and who executes it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol

from butfor.evidence._base import Frozen
from butfor.evidence.predicates import Judgement, KernelFailure

Role = Literal["before", "healthy", "failing"]


class Tree(Frozen):
    """A revision with files replaced: repository path -> new content, None to delete. Paths use `/`."""

    revision: str
    overlay: dict[str, bytes | None] = {}
    label: str = ""


class AnswerSeen(Frozen):
    """One answer of a run. `status` is an HTTP status, or `timeout`/`closed`.

    `as_good`: the answer is good's (None: nothing to compare with). `as_failure`: it matches the predicate.
    """

    id: str
    role: Role
    status: int | str
    seconds: float
    as_good: bool | None = None
    as_failure: bool = False
    alike: bool = False
    """Not good's answer but a sound one, where the failure is an error: as good as good's."""
    why: str = ""


class RunOutcome(Frozen):
    """What one run saw. An infrastructure error is `unknown` with `infrastructure` set, never `bad`.

    `ran_worktree`: the repository's modules were loaded from the tree under test (None: could not be checked;
    False makes the judgement `unknown`). `telemetry` is a bundle folder where the caller asked to keep it.
    """

    judgement: Judgement
    reason: str = ""
    started: bool = True
    infrastructure: bool = False
    ran_worktree: bool | None = None
    answers: list[AnswerSeen] = []
    exceptions: list[str] = []
    start_seconds: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    telemetry: Path | None = None
    kernel: list[KernelFailure] | None = None
    """What the kernel saw fail in the run's requests; None where it was not watched."""
    log_tail: str = ""


class SuiteOutcome(Frozen):
    """A test command's exit code and, where pytest's report was readable, outcome per test id."""

    exit_code: int
    tests: dict[str, str] = {}
    log_tail: str = ""


class Runner(Protocol):
    """Executes trees in the sandbox. Implemented by `butfor.reproducing`; stages receive it, never build it.

    Every call is counted in `runs`. `run` starts the service from a fresh `prepare`, sends the reproduction's
    requests and the healthy ones, and judges.
    """

    @property
    def runs(self) -> int:
        """How many times a tree was executed."""
        ...

    def run(self, tree: Tree, *, healthy: bool = True, keep_telemetry: Path | None = None) -> RunOutcome:
        """Run once. `healthy=False` leaves the healthy requests out (faster; then good means failing ones heal)."""
        ...

    def suite(self, tree: Tree, script: str, *, timeout_s: float = 900) -> SuiteOutcome:
        """Run a test script of the service in the tree, with pytest's own report where it is pytest."""
        ...
