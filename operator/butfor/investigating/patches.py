"""From proof to patch: candidates in turn, each through every check, until one passes; wiring only."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from butfor.evidence.verdicts import PatchSummary
from butfor.patching import PatchCandidate
from butfor.verifying import Verifier

Stage = Callable[[str], AbstractContextManager[None]]
NOTHING = "no set of the culprit's changes, taken out of bad, heals it"


@dataclass(frozen=True)
class Verified:
    """The patch that passed every check, else the one that failed the fewest; None where there was no candidate."""

    summary: PatchSummary
    candidate: PatchCandidate | None = None
    tried: int = 0


def first_verified(
    candidates: Iterable[PatchCandidate],
    proposals: Callable[[], Iterable[PatchCandidate]],
    verifier: Verifier,
    stage: Stage,
    *,
    until: float | None = None,
    better: Callable[[Verified], None] = lambda _: None,
) -> Verified:
    """Check candidates in order, then what else is proposed (a model's), whatever its origin, by the same checks.

    `candidates` may be lazy: what comes after a verified one is never looked for. `until` (`time.monotonic()`): of them
    none is begun after it, but for the first. `better` is told the best so far.
    """
    best: Verified | None = None
    tried = 0
    for candidate in _timed(itertools.chain(_before(until, candidates), _late(proposals)), stage):
        tried += 1
        with stage("verify"):
            summary = verifier.verify(candidate.tree, origin=candidate.origin, diff=candidate.diff)
        if summary.verified:
            return Verified(summary, candidate, tried)
        if best is None or _failures(summary) < _failures(best.summary):
            best = Verified(summary, candidate, tried)
            better(best)
        if verifier.bench.late:
            break
    if best is None:
        return Verified(PatchSummary(reason=NOTHING))
    more = f"; none of {tried} candidates passed every check" if tried > 1 else ""
    summary = best.summary.model_copy(update={"reason": best.summary.reason + more})
    return Verified(summary, best.candidate, tried)


def _before(until: float | None, candidates: Iterable[PatchCandidate]) -> Iterator[PatchCandidate]:
    for candidate in candidates:
        yield candidate
        if until is not None and time.monotonic() >= until:
            return


def _late(proposals: Callable[[], Iterable[PatchCandidate]]) -> Iterator[PatchCandidate]:
    yield from proposals()


def _timed(candidates: Iterable[PatchCandidate], stage: Stage) -> Iterator[PatchCandidate]:
    """The same; the search for the next one counts as the stage `patch`."""
    source = iter(candidates)
    while True:
        with stage("patch"):
            candidate = next(source, None)
        if candidate is None:
            return
        yield candidate


def _failures(summary: PatchSummary) -> tuple[int, int]:
    """Fewest failed checks first; of those, the one of which more is known."""
    unknown = sum(check.passed is None for check in summary.checks)
    return sum(check.passed is False for check in summary.checks), unknown
