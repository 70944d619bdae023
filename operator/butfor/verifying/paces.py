"""Whether a patch that missed a limit of time is slow or the machine was busy: runs of good and of the patch in turn.

A failure that is a slowness is told from health by a ratio and a rank test on interleaved runs; one late answer of a
patch is judged in the same way, for a limit that was measured at another time says little on a busy machine.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence

from butfor.evidence.runs import RunOutcome, Tree
from butfor.evidence.verdicts import Check
from butfor.verifying.baselines import Bench

Slower = Callable[[Sequence[float], Sequence[float]], bool]
"""Whether the second's seconds are slower than the first's by more than chance: the test that told the failure."""
PAIRS = 6
NAME = "reproduction"


def only_late(outcome: RunOutcome) -> bool:
    """Whether a run was answered throughout, and every failing answer that was wrong was so by its time alone."""
    failing = [answer for answer in outcome.answers if answer.role == "failing"]
    wrong = [answer for answer in failing if answer.as_good is not True]
    answered = all(isinstance(answer.status, int) for answer in failing)
    return outcome.judgement == "bad" and bool(wrong) and answered and all(answer.as_failure for answer in wrong)


def judged(bench: Bench, good: Tree, tree: Tree, slower: Slower) -> tuple[Check, list[RunOutcome]]:
    """The check of a late patch, and its runs in which it was not late."""
    pairs: list[tuple[float, float]] = []
    sound: list[RunOutcome] = []
    while len(pairs) < PAIRS and not bench.late:
        beside, patched = bench.runs(good, 1, None)[0], bench.runs(tree, 1, None)[0]
        if patched.judgement != "good" and not only_late(patched):
            return Check(name=NAME, passed=False, detail=f"a run was {patched.judgement}: {patched.reason[:300]}"), []
        sound += [patched] if patched.judgement == "good" else []
        pairs.append((_seconds(beside), _seconds(patched)))
    healthy, own = [one for one, _ in pairs], [other for _, other in pairs]
    if len(pairs) < PAIRS or not all(healthy):
        return Check(name=NAME, passed=None, detail="late, and it could not be compared with good in turn"), []
    said = f"{statistics.median(own):.3f} s where good takes {statistics.median(healthy):.3f} s, in {PAIRS} runs each"
    if slower(healthy, own):
        return Check(name=NAME, passed=False, detail=f"slow: {said}"), []
    # without one run in time it is not shown that it heals, only that the machine is too busy to tell
    detail = f"as quick as good: {said}; {len(sound)} of {PAIRS} in time"
    return Check(name=NAME, passed=True if sound else None, detail=detail), sound


def _seconds(outcome: RunOutcome) -> float:
    """The middle of the failing requests' times, 0 where none was answered."""
    taken = [a.seconds for a in outcome.answers if a.role == "failing" and isinstance(a.status, int)]
    return statistics.median(taken) if taken else 0.0
