"""Deriving the claims about a named culprit anew, where somebody else has made them: nothing of theirs is trusted.

A claim by part, or with other commits, cannot be replayed by one merge; the search that made it is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from butfor.evidence.predicates import Judgement
from butfor.evidence.runs import RunOutcome, SuiteOutcome, Tree
from butfor.evidence.suspects import FunctionRef
from butfor.evidence.verdicts import Claim, Counterfactual
from butfor.patching import counterfactual
from butfor.ports.repositories import Repository

SECONDS = 900.0
JUDGEMENTS: dict[str, Judgement] = {"good": "good", "bad": "bad"}
"""Any other answer is `unknown`."""


@dataclass
class AnswerRunner:
    """Implements `evidence.runs.Runner` over a function that says of a tree `good`, `bad` or something else."""

    answer: Callable[[Tree], str]
    runs: int = 0

    def run(self, tree: Tree, *, healthy: bool = True, keep_telemetry: Path | None = None) -> RunOutcome:
        """Ask; the answer always covers every request, and leaves no telemetry."""
        del healthy, keep_telemetry
        self.runs += 1
        said = self.answer(tree)
        return RunOutcome(judgement=JUDGEMENTS.get(said, "unknown"), reason="" if said in JUDGEMENTS else said)

    def suite(self, tree: Tree, script: str, *, timeout_s: float = 900) -> SuiteOutcome:
        """There is no suite here."""
        del tree, script, timeout_s
        return SuiteOutcome(exit_code=-1, log_tail="no suite can be run here")


def rederive(
    repository: Repository,
    answer: Callable[[Tree], str],
    culprit: str,
    good: str,
    bad: str,
    hints: Sequence[FunctionRef] = (),
) -> Counterfactual:
    """The claims `necessary` and `sufficient` by runs of our own; `hints` only say where to look first."""
    known = Claim(held=True, method="replayed apart")
    proof = counterfactual(
        repository, AnswerRunner(answer), culprit, good, bad, transition=known, hints=hints, repeats=1, seconds=SECONDS
    )
    return proof.counterfactual
