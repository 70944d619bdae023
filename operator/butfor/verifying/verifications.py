"""All checks of a patch, whatever its origin; a patch that fails any check is reported as failed, never as done.

A `Verifier` checks any number of patches of one bad revision: what they are compared with is run once. The order is
the cheapest way to refuse: one run of the reproduction, then the service's own suite, then what needs many runs.
"""

from __future__ import annotations

import ast
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Self

from butfor.evidence.runs import Runner, RunOutcome, Tree
from butfor.evidence.verdicts import Check, PatchSummary
from butfor.ports.repositories import Repository
from butfor.verifying import comparisons, kernels, paces, suites
from butfor.verifying.baselines import Baselines, Bench
from butfor.verifying.comparisons import Limits, Sides
from butfor.verifying.paces import Slower
from butfor.verifying.suites import NewTest

MUST_PASS = frozenset({"changes", "syntax", "reproduction", "new test"})
"""Checks that may not be left open either."""
NAMES = (
    "changes", "syntax", "reproduction", "new test", "suite", "healthy requests", "error spans", kernels.NAME,
    "latency", "cpu", "linters",
)  # fmt: skip
"""Every check, in the order of a report; what the kernel saw is in it only where the kernel watched."""

__all__ = ["Limits", "NewTest", "Verifier", "verify"]


class Verifier:
    """Checks patches of `bad`; use it as a context, for it keeps telemetry in a temporary folder.

    `script`: the service's own test. `good`: what is taken as sound telemetry and speed besides bad's. `new_test`: a
    test of the failure; without one the judged runs serve. `deadline`: `time.monotonic()`. `slower`: where the failure
    is a slowness, the test that told it.
    """

    def __init__(
        self,
        repository: Repository,
        runner: Runner,
        bad: str,
        script: str,
        *,
        good: str | None = None,
        new_test: NewTest | None = None,
        repeats: int = 10,
        limits: Limits | None = None,
        deadline: float | None = None,
        watch: Callable[[str], None] = lambda _: None,
        slower: Slower | None = None,
    ) -> None:
        self.repository, self.runner, self.bad = repository, runner, Tree(revision=bad, label="bad")
        self.script, self.new_test, self.watch = script, new_test, watch
        self.repeats, self.limits = repeats, limits or Limits()
        self.refused: set[str] = set()
        self.slower = slower
        self._folder = tempfile.TemporaryDirectory(prefix="butfor-verify-", ignore_cleanup_errors=True)
        self.bench = Bench(runner, Path(self._folder.name), deadline)
        self.baselines = Baselines(self.bench, self.bad, Tree(revision=good, label="good") if good else None, script)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the telemetry that was kept."""
        self._folder.cleanup()

    def verify(self, tree: Tree, *, origin: str = "", diff: bytes = b"") -> PatchSummary:
        """Run every check of a patch (`tree`: bad with files replaced; `diff`: as written, may not be empty)."""
        work = _Verification(self, tree)
        checks = work.checks(has_diff=bool(diff))
        failed = [c.name for c in checks if c.passed is False]
        open_ = [c.name for c in checks if c.passed is None and c.name in MUST_PASS | work.required]
        reason = f"failed: {', '.join(failed)}" if failed else f"could not be told: {', '.join(open_)}" if open_ else ""
        return PatchSummary(origin=origin, verified=not failed and not open_, checks=checks, reason=reason)


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
    """One patch by itself; the arguments are those of `Verifier` and its `verify`."""
    with Verifier(
        repository, runner, tree.revision, test_script, good=good, new_test=new_test, repeats=repeats, limits=limits,
        deadline=deadline, watch=watch,
    ) as verifier:  # fmt: skip
        return verifier.verify(tree, origin=origin, diff=diff)


class _Verification:
    """One patch under check."""

    def __init__(self, verifier: Verifier, tree: Tree) -> None:
        self.of, self.tree = verifier, tree
        self.required: set[str] = set()
        self.found: dict[str, Check] = {}
        self.patched: list[RunOutcome] = []

    def checks(self, *, has_diff: bool) -> list[Check]:
        """Every check in the order of a report; after one that a patch cannot do without, the dear ones are not run."""
        gates: tuple[Callable[[], Check], ...] = (
            partial(self._changes, has_diff=has_diff), self._syntax, self._once, self._suite, self._repeated,
        )  # fmt: skip
        for gate in gates:
            if self._note(gate()).passed is False:
                break
        else:
            self._compared()
        failed = next((check.name for check in self.found.values() if check.passed is False), "")
        names = [name for name in NAMES if name != kernels.NAME or name in self.found]
        return [self.found.get(name) or Check(name=name, passed=None, detail=f"not run: {failed}") for name in names]

    def _note(self, check: Check) -> Check:
        self.found[check.name] = check
        word = {True: "passed", False: "failed", None: "cannot tell"}[check.passed]
        self.of.watch(f"{check.name}: {word}; {check.detail}")
        return check

    def _read(self, path: str) -> bytes | None:
        return self.of.repository.show(self.tree.revision, path)

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

    def _once(self) -> Check:
        self.patched = self.of.bench.runs(self.tree, 1, "good")
        return self._in_time() or comparisons.reproduction(self.patched, min(1, self.of.repeats))

    def _repeated(self) -> Check:
        if self.of.repeats > 1 and not self.of.bench.late:
            self.patched += self.of.bench.runs(self.tree, self.of.repeats - 1, "good")
        return self._in_time() or comparisons.reproduction(self.patched, self.of.repeats)

    def _in_time(self) -> Check | None:
        """Where the last run was late and nothing else: what runs beside good's say; None for any other failure."""
        good, slower = self.of.baselines.good, self.of.slower
        if good is None or slower is None or not (self.patched and paces.only_late(self.patched[-1])):
            return None
        check, sound = paces.judged(self.of.bench, good, self.tree, slower)
        if check.passed:
            self.patched = [*self.patched[:-1], *sound]
        return check

    def _suite(self) -> Check:
        if not self.of.script.strip():
            return Check(name="suite", passed=None, detail="the service description names no test")
        if self.of.bench.late:
            self.required.add("suite")
            return Check(name="suite", passed=None, detail="the time allowed was used up before it could run")
        return suites.own_suite(self.of.bench, self.of.baselines.suite, self.tree, self.of.script, self.of.refused)

    def _compared(self) -> None:
        """What is told from runs with the patch beside runs without it."""
        of, base = self.of, self.of.baselines
        self._note(self._new_test())
        alone = of.bench.runs(self.tree, 1, None, healthy=False)
        sides = Sides(self.patched, base.bad_runs, base.good_runs, alone, base.bad_alone)
        self._note(comparisons.healthy_requests(self.patched))
        self._note(comparisons.error_spans(sides))
        if watched := kernels.kernel_events(sides):
            self._note(watched)
        self._note(comparisons.latency(sides, of.limits))
        self._note(comparisons.cpu(sides, of.limits))
        self._note(suites.linters(of.runner, of.bad, self.tree, self._read))

    def _new_test(self) -> Check:
        test, bad = self.of.new_test, self.of.baselines.bad_runs
        told = suites.new_test(self.of.runner, self.of.bad, self.tree, test) if test is not None else None
        if told is not None and told.passed is not None:
            return told
        # the failure's own predicate judges these runs, so bad here means: fails for the failure's reason
        failing = sum(outcome.judgement == "bad" for outcome in bad)
        detail = f"the reproduction serves: it fails on bad ({failing} of {len(bad)} runs) and passes with the patch"
        why = f"{told.detail}; " if told is not None else ""
        return Check(name="new test", passed=failing > 0, detail=why + detail)


def _parses(content: bytes) -> bool:
    try:
        ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
