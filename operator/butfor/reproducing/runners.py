"""Executes trees on this machine: one fresh start per run, in the sandbox, judged and proven."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from butfor.errors import ButforError, InconclusiveError, InfrastructureError
from butfor.evidence.plays import Observation, Plan
from butfor.evidence.predicates import FailurePredicate, KernelFailure
from butfor.evidence.reproductions import Expectation, PlanParts
from butfor.evidence.runs import RunOutcome, SuiteOutcome, Tree
from butfor.evidence.services import ServiceDescription
from butfor.ports.plays import play
from butfor.reproducing import keeping, signatures, suites
from butfor.reproducing.assembling import Workshop, assemble, deadline
from butfor.reproducing.judgements import judge

Keeper = Callable[[Observation, Path], Path]
"""Writes a run's telemetry as a bundle to a folder and returns it."""


@dataclass
class Count:
    """How many trees were executed, shared by the variants of a runner."""

    runs: int = 0


def suspected(services: Sequence[ServiceDescription], suspects: frozenset[str], failing: str) -> ServiceDescription:
    """The service whose own tests tell most: the failing one, if it is suspected, else the first that is."""
    own = [one for one in services if one.name in suspects]
    return next((one for one in own if one.name == failing), own[0])


@dataclass
class LocalRunner:
    """Implements `evidence.runs.Runner`. `suspects` are the services that run the tree under test.

    `renames` maps file names at other revisions to those that the predicate names. Identical trees are run
    again each time: a verdict may be noisy, so no outcome is ever remembered.
    """

    services: Sequence[ServiceDescription]
    parts: PlanParts
    predicate: FailurePredicate
    workshop: Workshop
    suspects: frozenset[str]
    expected: Sequence[Expectation] = ()
    renames: Mapping[str, str] = field(default_factory=dict)
    keeper: Keeper = keeping.keep
    signature: Sequence[KernelFailure] = ()
    """What the kernel must see fail where the failure shows, as far as it watches."""
    count: Count = field(default_factory=Count)

    @property
    def runs(self) -> int:
        """How many times a tree was executed, by this runner and its variants."""
        return self.count.runs

    def variant(self, **changes: Any) -> LocalRunner:
        """Return a runner with other parts, services, predicate or expectations, counted together with this one."""
        kept = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return LocalRunner(**{**kept, **changes})

    def run(self, tree: Tree, *, healthy: bool = True, keep_telemetry: Path | None = None) -> RunOutcome:
        """Run once and judge. What the tree does never raises; a setup that fails is `unknown`."""
        with self.folder() as folder:
            try:
                watched = bool(self.signature) or keep_telemetry is not None
                plan, observation = self.observe(tree, Path(folder), healthy=healthy, watched=watched)
            except InconclusiveError as error:
                return RunOutcome(judgement="unknown", reason=str(error), started=False)
            except InfrastructureError as error:
                return RunOutcome(judgement="unknown", reason=str(error), started=False, infrastructure=True)
            outcome = self.judged(observation, plan)
            if keep_telemetry is not None:
                kept = self.keeper(observation, keep_telemetry)
                outcome = outcome.model_copy(update={"telemetry": kept})
            return outcome

    def observe(
        self, tree: Tree, folder: Path, *, healthy: bool = True, watched: bool = False
    ) -> tuple[Plan, Observation]:
        """Run once into `folder` without judging; `watched` by the kernel's agent, where there is one.

        A failure that only the kernel sees is always watched for.

        Raises InconclusiveError where the setup fails.
        """
        self.count.runs += 1
        self.workshop.bench.ran()
        plan = assemble(
            self.services, self.parts, tree, self.workshop, self.suspects, healthy=healthy,
            deadline_s=deadline(self.parts, len(self.services)), wait=False,
        )  # fmt: skip
        bench = self.workshop.bench
        watched = watched or self.predicate.by_kernel
        observation = play(
            plan, sandbox=bench.sandbox, folder=folder, kernel=bench.kernel if watched else None,
            ready=self.workshop.ready,
        )  # fmt: skip
        if observation.started:
            self.workshop.starts.append(observation.start_seconds)
        return plan, observation

    def judged(self, observation: Observation, plan: Plan) -> RunOutcome:
        """Judge what a play saw; a failure that the kernel saw otherwise is another one."""
        outcome = judge(
            observation, plan, self.predicate, self.expected, suspects=self.suspects, renames=self.renames
        )  # fmt: skip
        seen = signatures.shown(observation.kernel)
        missing = signatures.lacking(self.signature, seen) if outcome.judgement == "bad" else []
        changes: dict[str, Any] = {"kernel": seen}
        if missing:
            reason = f"it fails, but the kernel did not see {signatures.words(missing)}"
            changes |= {"judgement": "unknown", "reason": reason}
        return outcome.model_copy(update=changes)

    def seen(self, tree: Tree) -> list[KernelFailure] | None:
        """Run once under the kernel's eyes: what failed there, None where nothing was seen or it did not run."""
        with self.folder() as folder:
            try:
                _, observation = self.observe(tree, Path(folder), watched=True)
            except ButforError:
                return None
            return signatures.shown(observation.kernel) if observation.started else None

    def suite(self, tree: Tree, script: str, *, timeout_s: float = 900) -> SuiteOutcome:
        """Run a test script of the suspected service in a copy of the tree that it may write to.

        That is the failing service, if it is suspected. The script is told of the others by `VENV_<NAME>`, and of
        those from another repository by `WORKTREE_<NAME>`.
        """
        service = suspected(self.services, self.suspects, self.predicate.service)
        beside = [one for one in self.services if one.name not in (service.name, *self.parts.stubbed)]
        with self.folder() as folder:
            try:
                planned = self.workshop.planned(service, tree)
                others = {one.name: self.workshop.planned(one, self._tree_of(one, tree)) for one in beside}
            except ButforError as error:
                return SuiteOutcome(exit_code=-1, log_tail=str(error))
            copy = Path(folder) / "worktree"
            shutil.copytree(planned.worktree, copy, symlinks=True)
            return suites.run_suite(
                planned.model_copy(update={"worktree": copy}), script, self.workshop.bench, Path(folder), timeout_s,
                environments={name: one.environment_path for name, one in others.items() if one.environment_path},
                worktrees={name: one.worktree for name, one in others.items() if name not in self.suspects},
            )  # fmt: skip

    def _tree_of(self, service: ServiceDescription, tree: Tree) -> Tree:
        return tree if service.name in self.suspects else Tree(revision=service.revision or service.bad or "HEAD")

    def folder(self) -> tempfile.TemporaryDirectory[str]:
        """Return a context with the name of a fresh folder for one run."""
        runs = self.workshop.scratch / "runs"
        runs.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryDirectory(prefix="run-", dir=runs, ignore_cleanup_errors=True)
