"""What the failing requests would be answered at bad, had it not its culprit: good's answer may have other values.

Features come and go between good and bad, so the answer that a patch must give is that of bad healed, not that of good.
"""

from __future__ import annotations

from butfor.evidence.reproductions import Expectation
from butfor.evidence.runs import Tree
from butfor.reproducing.expectations import common, exactly
from butfor.reproducing.learning import Shown, show
from butfor.reproducing.runners import LocalRunner


def as_healed(runner: LocalRunner, healed: Tree) -> LocalRunner:
    """Return a runner that asks of failing requests what `healed` answers, where its values are not those of good."""
    first = show(runner, healed)
    others = {answer.id for answer in first.outcome.answers if answer.alike}
    if not others or first.outcome.judgement != "good":
        return runner
    second = show(runner, healed)
    learned = {name: found for name in others if (found := _learned(name, first, second)) is not None}
    return runner.variant(expected=[learned.get(one.id, one) for one in runner.expected])


def _learned(name: str, first: Shown, second: Shown) -> Expectation | None:
    """Return what both runs answered; None where they say different things."""
    runs = [shown.said[name] for shown in (first, second) if name in shown.said]
    both = common(runs) if len(runs) == 2 else None
    return exactly(name, both) if both else None
