"""What the kernel saw fail with a patch, against what it saw at bad and at good. Pure functions; one check."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from butfor.evidence.predicates import KernelFailure
from butfor.evidence.runs import RunOutcome
from butfor.evidence.verdicts import Check
from butfor.verifying.comparisons import Sides

NAME = "kernel events"
_Seen = set[tuple[str, str, str]]


def kernel_events(sides: Sides) -> Check | None:
    """The failure's own kernel events are gone with the patch, and none is new; None where the kernel did not watch.

    What good shows too belongs to no failure. An event that is new in every run with the patch fails it; one that
    came in some of them only may be chance, and then it cannot be told.
    """
    patched, bad, good = (_sets(side) for side in (sides.patched, sides.bad, sides.good))
    if not patched or not bad:
        return None
    known = set().union(*bad, *good)
    always, ever = set.intersection(*patched) - known, set().union(*patched) - known
    if always:
        return Check(name=NAME, passed=False if good else None, detail=f"not seen before: {words(always)}")
    alone = _sets(sides.failing_bad) or bad
    failure = set.intersection(*alone) - set().union(*good)
    left = failure & set().union(*_sets(sides.failing_patched))
    if left and good:
        return Check(name=NAME, passed=False, detail=f"still there: {words(left)}")
    if ever:
        return Check(name=NAME, passed=None, detail=f"in some runs with the patch only: {words(ever)}")
    if not good or not failure:
        return Check(name=NAME, passed=None if failure else True, detail=_quiet(failure))
    return Check(name=NAME, passed=True, detail=f"gone: {words(failure)}; none is new")


def _quiet(failure: Collection[tuple[str, str, str]]) -> str:
    return "good was not run, so what belongs to the failure cannot be told" if failure else "none is new"


def _sets(outcomes: Sequence[RunOutcome]) -> list[_Seen]:
    """Per run that was watched, what failed in it."""
    return [_plain(outcome.kernel) for outcome in outcomes if outcome.kernel is not None]


def _plain(failures: Sequence[KernelFailure]) -> _Seen:
    return {(one.kind, one.errno, one.target_type) for one in failures}


def words(failures: Collection[tuple[str, str, str]], limit: int = 5) -> str:
    """A few of them for people."""
    shown = [" ".join(part for part in one if part) for one in sorted(failures)[:limit]]
    return ", ".join(shown) + (", ..." if len(failures) > limit else "")
