"""The runs of a bisection: repeated where one is not enough, counted, and summed up to a verdict per revision."""

from __future__ import annotations

from typing import Any

from butfor.evidence.predicates import Judgement
from butfor.evidence.runs import Runner, RunOutcome, Tree

INFRASTRUCTURE_RETRIES = 1


class Trials:
    """What was run and judged. One bad run settles a revision, `repeats` good ones do, and so does one unknown.

    `known`: the end points, which are not run again. `runs` counts executions, repetitions included.
    """

    def __init__(self, runner: Runner, repeats: int, known: dict[str, Judgement]) -> None:
        self._runner = runner
        self._repeats = repeats
        self._known = known
        self._seen: dict[str, list[Judgement]] = {}
        self.runs = 0
        self.otherwise: list[str] = []
        """Revisions that answered, but neither as good does nor as the failure was captured."""
        self.steps: list[dict[str, Any]] = []

    def run(self, sha: str) -> Judgement:
        """Run a revision once (again, where our own machinery failed) and note what it was."""
        outcome = self._once(sha)
        for _ in range(INFRASTRUCTURE_RETRIES):
            if not outcome.infrastructure:
                break
            outcome = self._once(sha)
        self._seen.setdefault(sha, []).append(outcome.judgement)
        if outcome.judgement == "unknown" and any(a.role == "failing" and a.as_good is False for a in outcome.answers):
            self.otherwise.append(sha)
        return outcome.judgement

    def _once(self, sha: str) -> RunOutcome:
        outcome = self._runner.run(Tree(revision=sha, label="bisect"), healthy=False)
        self.runs += 1
        self.steps.append(
            {
                "commit": sha,
                "judgement": outcome.judgement,
                "reason": outcome.reason,
                "seconds": round(outcome.seconds, 3),
                "infrastructure": outcome.infrastructure,
            }
        )
        return outcome

    def settled(self, sha: str) -> Judgement | None:
        """The verdict on a revision, None while it is open."""
        if sha in self._known:
            return self._known[sha]
        seen = self._seen.get(sha, [])
        if "bad" in seen:
            return "bad"
        if "unknown" in seen:
            return "unknown"
        return "good" if seen.count("good") >= self._repeats else None

    def open(self, sha: str) -> bool:
        """Whether another run of this revision could still settle it."""
        return self.settled(sha) is None

    def count(self, sha: str) -> int:
        """How often a revision was run here."""
        return len(self._seen.get(sha, []))

    def of(self, *wanted: Judgement) -> list[str]:
        """Settled revisions with one of these verdicts, end points included."""
        every = [*self._known, *self._seen]
        return [sha for sha in dict.fromkeys(every) if self.settled(sha) in wanted]

    def verdicts(self) -> list[tuple[str, Judgement]]:
        """Settled revisions that were run, in the order of their first run."""
        return [(sha, verdict) for sha in self._seen if (verdict := self.settled(sha)) is not None]
