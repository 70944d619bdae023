"""What patches of one bad revision are compared with, run once however many patches are checked."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from butfor.evidence.runs import Runner, RunOutcome, SuiteOutcome, Tree

BASELINE_RUNS = 3
SUITE_SECONDS = 900.0
SHARE_OF_SUITE = 0.4
"""Share of the time left that one run of the suite may take: it is run at bad and with the patch."""


@dataclass
class Bench:
    """Runs trees with their telemetry kept in `scratch`, until `deadline` (`time.monotonic()`)."""

    runner: Runner
    scratch: Path
    deadline: float | None = None
    kept: int = 0

    @property
    def late(self) -> bool:
        """Whether the time is used up."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def runs(self, tree: Tree, count: int, wanted: str | None, *, healthy: bool = True) -> list[RunOutcome]:
        """Runs of a tree; ends early at one that is not as wanted. Our own failures are run again."""
        found: list[RunOutcome] = []
        spare = 2
        while len(found) < count and not (found and self.late):
            self.kept += 1
            outcome = self.runner.run(tree, healthy=healthy, keep_telemetry=self.scratch / f"run-{self.kept}")
            if outcome.infrastructure and spare:
                spare -= 1
                continue
            found.append(outcome)
            if wanted is not None and outcome.judgement != wanted:
                break
        return found

    def suite(self, tree: Tree, script: str) -> SuiteOutcome:
        """The service's own tests, for a share of the time that is left."""
        left = SUITE_SECONDS if self.deadline is None else self.deadline - time.monotonic()
        seconds = min(SUITE_SECONDS, max(30.0, left * SHARE_OF_SUITE))
        return self.runner.suite(tree, script, timeout_s=seconds)


@dataclass
class Baselines:
    """Runs at bad and at good (none where it is not known); `script` is the service's own test."""

    bench: Bench
    bad: Tree
    good: Tree | None
    script: str

    @cached_property
    def bad_runs(self) -> list[RunOutcome]:
        """Bad with every request."""
        return self.bench.runs(self.bad, BASELINE_RUNS, None)

    @cached_property
    def bad_alone(self) -> list[RunOutcome]:
        """Bad with the failing requests only: what it shows is the failure's own."""
        return self.bench.runs(self.bad, 1, None, healthy=False)

    @cached_property
    def good_runs(self) -> list[RunOutcome]:
        """Good with every request."""
        return self.bench.runs(self.good, BASELINE_RUNS, None) if self.good else []

    @cached_property
    def suite(self) -> SuiteOutcome:
        """The service's own tests at bad."""
        return self.bench.suite(self.bad, self.script)
