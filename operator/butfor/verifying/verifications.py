"""All checks of one patch, cheap ones first; a patch that fails any check is reported as failed, never as done."""

from __future__ import annotations

import ast
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from butfor.evidence.runs import Runner, RunOutcome, Tree
from butfor.evidence.verdicts import Check, PatchSummary
from butfor.ports.repositories import Repository
from butfor.verifying import comparisons, suites
from butfor.verifying.comparisons import Limits, Sides
from butfor.verifying.suites import NewTest

BASELINE_RUNS = 3
MUST_PASS = frozenset({"changes", "syntax", "reproduction", "new test"})
"""Checks that may not be left open either."""
SKIPPED = ("new test", "healthy requests", "error spans", "latency", "cpu", "suite", "linters")

__all__ = ["Limits", "NewTest", "verify"]


def verify(
    repository: Repository,
    runner: Runner,
    tree: Tree,
    test_script: str,
    *,
    origin: str = "",
    diff: bytes = b"",
    good: str | None = None,
    new_test: NewTest | None = None,
    repeats: int = 10,
    limits: Limits | None = None,
    deadline: float | None = None,
    watch: Callable[[str], None] = lambda _: None,
) -> PatchSummary:
    """Run every check of a patch (`tree`: bad's revision with files replaced).

    `good`: what is taken as sound telemetry and speed besides bad's. `diff`: as written, may not be empty.
    `new_test`: a unit test of the patch; without one the reproduction serves. `deadline`: `time.monotonic()`.
    """
    with tempfile.TemporaryDirectory(prefix="butfor-verify-") as scratch:
        work = _Verification(repository, runner, tree, deadline, watch, Path(scratch))
        checks = work.checks(test_script, good, new_test, repeats, limits or Limits(), has_diff=bool(diff))
    failed = [c.name for c in checks if c.passed is False]
    open_ = [c.name for c in checks if c.passed is None and c.name in MUST_PASS | work.required]
    reason = f"failed: {', '.join(failed)}" if failed else f"could not be told: {', '.join(open_)}" if open_ else ""
    return PatchSummary(origin=origin, verified=not failed and not open_, checks=checks, reason=reason)


class _Verification:
    """One patch under check."""

    def __init__(
        self,
        repository: Repository,
        runner: Runner,
        tree: Tree,
        deadline: float | None,
        watch: Callable[[str], None],
        scratch: Path,
    ) -> None:
        self.repository, self.runner, self.tree = repository, runner, tree
        self.bad = Tree(revision=tree.revision, label="bad")
        self.deadline, self.watch, self.scratch = deadline, watch, scratch
        self.required: set[str] = set()
        self.kept = 0

    def checks(
        self,
        script: str,
        good: str | None,
        new_test: NewTest | None,
        repeats: int,
        limits: Limits,
        *,
        has_diff: bool,
    ) -> list[Check]:
        """Checks in order; after a failure of the first three the others are not run."""
        found = [self._note(self._changes(has_diff=has_diff)), self._note(self._syntax())]
        patched: list[RunOutcome] = []
        if all(check.passed for check in found):
            patched = self._runs(self.tree, repeats, "good")
            found.append(self._note(comparisons.reproduction(patched, repeats)))
        if not all(check.passed for check in found):
            return [*found, *(Check(name=name, passed=None, detail="not run") for name in SKIPPED)]
        sides = Sides(
            patched,
            self._runs(self.bad, BASELINE_RUNS, None),
            self._runs(Tree(revision=good, label="good"), BASELINE_RUNS, None) if good else [],
            self._runs(self.tree, 1, None, healthy=False),
            self._runs(self.bad, 1, None, healthy=False),
        )
        found.append(self._note(self._new_test(new_test, sides.bad)))
        found.append(self._note(comparisons.healthy_requests(patched)))
        found.append(self._note(comparisons.error_spans(sides)))
        found.append(self._note(comparisons.latency(sides, limits)))
        found.append(self._note(comparisons.cpu(sides, limits)))
        found.append(self._note(self._suite(script)))
        found.append(self._note(suites.linters(self.runner, self.bad, self.tree, self._read)))
        return found

    def _note(self, check: Check) -> Check:
        word = {True: "passed", False: "failed", None: "cannot tell"}[check.passed]
        self.watch(f"{check.name}: {word}; {check.detail}")
        return check

    def _late(self) -> bool:
        return self.deadline is not None and time.monotonic() >= self.deadline

    def _read(self, path: str) -> bytes | None:
        return self.repository.show(self.tree.revision, path)

    def _runs(self, tree: Tree, count: int, wanted: str | None, *, healthy: bool = True) -> list[RunOutcome]:
        """Runs with their telemetry kept; ends early at one that is not as wanted. Our own failures are run again."""
        found: list[RunOutcome] = []
        spare = 2
        while len(found) < count and not (found and self._late()):
            self.kept += 1
            outcome = self.runner.run(tree, healthy=healthy, keep_telemetry=self.scratch / f"run-{self.kept}")
            if outcome.infrastructure and spare:
                spare -= 1
                continue
            found.append(outcome)
            if wanted is not None and outcome.judgement != wanted:
                break
        return found

    def _changes(self, *, has_diff: bool) -> Check:
        changed = [path for path, new in self.tree.overlay.items() if new != self._read(path)]
        passed = bool(changed) and has_diff
        return Check(name="changes", passed=passed, detail=f"changes {', '.join(changed[:10]) or 'nothing'}")

    def _syntax(self) -> Check:
        broken = [
            p for p, new in self.tree.overlay.items() if new is not None and p.endswith(".py") and not _parses(new)
        ]
        detail = f"would not parse: {', '.join(broken)}" if broken else "every changed Python file parses"
        return Check(name="syntax", passed=not broken, detail=detail)

    def _new_test(self, test: NewTest | None, bad: Sequence[RunOutcome]) -> Check:
        if test is not None:
            return suites.new_test(self.runner, self.bad, self.tree, test)
        # the failure's own predicate judges these runs, so bad here means: fails for the failure's reason
        failing = sum(outcome.judgement == "bad" for outcome in bad)
        detail = f"the reproduction serves: it fails on bad ({failing} of {len(bad)} runs) and passes with the patch"
        return Check(name="new test", passed=failing > 0, detail=detail)

    def _suite(self, script: str) -> Check:
        if self._late():
            self.required.add("suite")
            return Check(name="suite", passed=None, detail="the time allowed was used up before it could run")
        return suites.own_suite(self.runner, self.bad, self.tree, script, self._late)


def _parses(content: bytes) -> bool:
    try:
        ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
