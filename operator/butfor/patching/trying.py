"""Running the trees that a claim needs: each distinct tree once, repeated where a result is to be relied on."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from butfor.evidence.predicates import Judgement
from butfor.evidence.runs import Runner, RunOutcome, Tree
from butfor.patching.sources import could_run

RESERVE = 0.2
"""Share of the time that a search leaves for confirming what it found."""


@dataclass(frozen=True)
class Healing:
    """A tree based on bad that was run and answered as good does; `origin` is `revert`, `hunks` or `functions`.

    `companions`: how many other commits went with the culprit.
    """

    tree: Tree
    origin: str
    method: str
    complete: bool = True
    companions: int = 0


@dataclass
class Tries:
    """Runs trees with a budget of runs and a deadline (`time.monotonic()`), and remembers what each gave.

    `log` says in words what was tried.
    A tree with a file that does not parse is *cannot tell* without a run. `repeats`: a verdict that a claim rests
    on is seen so many times.
    """

    runner: Runner
    budget: int
    deadline: float | None = None
    repeats: int = 1
    runs: int = 0
    seen: dict[tuple[str, bool], RunOutcome] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)

    def run(self, tree: Tree, *, healthy: bool = True) -> RunOutcome:
        """One run, or what it gave before; `unknown` with a reason when it cannot be run any more."""
        key = (fingerprint(tree), healthy)
        if key in self.seen:
            return self.seen[key]
        broken = [path for path, content in tree.overlay.items() if not could_run(path, content)]
        if broken:
            outcome = RunOutcome(judgement="unknown", reason=f"{broken[0]} would not parse", started=False)
        elif self.exhausted:
            return RunOutcome(judgement="unknown", reason="the budget of runs or time is used up", started=False)
        else:
            outcome = self._run(tree, healthy=healthy)
        self.seen[key] = outcome
        return outcome

    def judge(self, tree: Tree, *, healthy: bool = True) -> Judgement:
        """The judgement of one run."""
        return self.run(tree, healthy=healthy).judgement

    def confirmed(self, tree: Tree, wanted: Judgement, *, healthy: bool = True) -> RunOutcome:
        """A verdict seen `repeats` times; the first run that says otherwise is returned instead."""
        outcome = self.run(tree, healthy=healthy)
        for _ in range(self.repeats - 1):
            if outcome.judgement != wanted or self.exhausted:
                break
            outcome = self._run(tree, healthy=healthy)
        self.seen[fingerprint(tree), healthy] = outcome
        return outcome

    def postpone(self, seconds: float, last: float | None = None) -> None:
        """Move the deadline, though not beyond `last`: time that others used does not count."""
        if self.deadline is not None:
            self.deadline = self.deadline + seconds if last is None else min(self.deadline + seconds, last)

    @contextmanager
    def singly(self) -> Iterator[None]:
        """While searching one run per tree is enough; what is found is then confirmed."""
        repeats, self.repeats = self.repeats, 1
        try:
            yield
        finally:
            self.repeats = repeats

    @property
    def left(self) -> float:
        """Share of the time that is left, 1 where there is no end."""
        if self.deadline is None:
            return 1.0
        return max(0.0, self.deadline - time.monotonic()) / max(1e-9, self.deadline - self.started)

    @property
    def nearly_exhausted(self) -> bool:
        """Whether a search should end, so that what it found can still be confirmed."""
        return self.left < RESERVE or self.budget - self.runs < 2 * self.repeats

    @property
    def exhausted(self) -> bool:
        """Whether nothing more may be run."""
        late = self.deadline is not None and time.monotonic() >= self.deadline
        return late or self.runs >= self.budget

    def _run(self, tree: Tree, *, healthy: bool) -> RunOutcome:
        outcome = self.runner.run(tree, healthy=healthy)
        self.runs += 1
        if outcome.infrastructure and not self.exhausted:
            outcome = self.runner.run(tree, healthy=healthy)
            self.runs += 1
        return outcome


def fingerprint(tree: Tree) -> str:
    """The same for trees with the same contents."""
    digest = hashlib.sha256(tree.revision.encode())
    for path in sorted(tree.overlay):
        content = tree.overlay[path]
        body = b"\0deleted" if content is None else hashlib.sha256(content).digest()
        digest.update(path.encode("utf-8", "surrogateescape") + b"\0" + body)
    return digest.hexdigest()
