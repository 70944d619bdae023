"""The part that executes: reproduce, bisect, the counterfactual claims, the patch, and its verification."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from butfor.bisecting import bisect
from butfor.evidence.runs import Tree
from butfor.evidence.services import ServiceDescription
from butfor.evidence.verdicts import PatchSummary
from butfor.investigating import outcomes
from butfor.investigating.analyses import Analysis, History
from butfor.investigating.conditions import Tried, write_both
from butfor.investigating.contrasting import contrasted, refocused
from butfor.investigating.forms import same_failure, together
from butfor.investigating.patches import Verified, first_verified
from butfor.investigating.progress import Clock
from butfor.investigating.proposals import proposed
from butfor.investigating.questions import Findings, Question
from butfor.investigating.signatures import with_signature
from butfor.investigating.waiting import hasty
from butfor.patching import PatchCandidate, Proof, claims, counterfactual, deciding, minimise, share, twins
from butfor.ports.benches import Bench
from butfor.reproducing import LocalRunner, Reproduced, Workshop, reproduce, slownesses, with_form_at
from butfor.reproducing import files as repro_files
from butfor.reproducing.assembling import GOOD
from butfor.reproducing.relearning import as_healed
from butfor.verifying import Verifier, plain_test

PATIENCE = 3
SHARE_OF_BISECTION = 0.4
SHARE_OF_CLAIMS = 0.7
SHARE_OF_SEARCH = 0.85
"""Shares of the budget after which bisecting, the claims and the search for patches stop: no stage starves a later."""
CLAIM_SECONDS, CLAIMS_SECONDS = 110.0, 160.0
"""For one claim, and for all of them together."""
SEARCH_SECONDS, CANDIDATES_SECONDS, PATCH_SECONDS = 90.0, 180.0, 300.0
"""Searching may take so long, the checks not counted; after the second no further candidate is begun, and the one under
check may take until the third. Whoever waits for a verdict is waiting for minutes, not for an hour."""


@dataclass
class Trial:
    """One investigation's runs; `scratch` holds worktrees and is the caller's to remove."""

    question: Question
    history: History
    analysis: Analysis
    bench: Bench
    scratch: Path
    clock: Clock
    findings: Findings
    save: Callable[[], None] = lambda: None
    """Writes what the findings allow so far."""

    def conduct(self) -> None:
        """Run the stages in order; each stops the way where it cannot tell."""
        runner = self.reproduce()
        if runner is None or self.is_configuration():
            return
        culprit = self.bisect(runner, patience=PATIENCE)
        if culprit is None and self.findings.bisected and self.findings.bisected.otherwise:
            runner = self.wider(runner) or runner
            culprit = self.bisect(runner)
        if culprit is None:
            return
        self.save()
        proof = self.claims(runner, culprit)
        self.save()
        self.patch(runner, proof)

    def reproduce(self) -> LocalRunner | None:
        """A runner that tells bad from good, or None."""
        workshop = Workshop(self.bench, self.question.histories, self.scratch)
        history = self.history
        seen = self.analysis.timelines
        told = seen.predicate is not None and not seen.rivals and not outcomes.unsaid(seen.predicate, self.question)
        if not told and not self.refocus(workshop) and seen.predicate is None:
            return None
        found = self.reproduced(workshop)
        # only what a user named by its status may take the place of a failure that was captured
        named = self.question.symptom.status is not None
        if outcomes.fails_at_both(found) and named and not seen.rivals and self.refocus(workshop):
            found = self.reproduced(workshop)
        self.findings.reproduced = found
        report = found.reproduction
        if not report.reproduced or found.runner is None:
            self.clock.progress.note(f"not reproduced: {report.reason}")
            if outcomes.fails_at_both(found):
                self.intervene(found)
            return None
        self.clock.progress.note(
            f"bad failed in {report.bad_failures} of {report.bad_runs} runs, good in {report.good_failures} of"
            f" {report.good_runs}"
        )
        repro_files.write(report, found.runner, self.question.out / "repro", good=history.good, bad=history.bad)
        with self.clock.stage("reproduce"):
            runner, said = with_signature(found.runner, history.good, history.bad)
        if said:
            self.clock.progress.note(said)
            self.findings.reproduced = replace(found, runner=runner)
        return runner

    def reproduced(self, workshop: Workshop) -> Reproduced:
        """The failure as it is explained now, had again from the capture."""
        history, timelines = self.history, self.analysis.timelines
        with self.clock.stage("reproduce"):
            return reproduce(
                timelines, timelines.telemetry, self.question.services, workshop, history.good, history.bad,
                renames=history.repository.renames(history.good, history.bad), case=self.question.case,
            )  # fmt: skip

    def refocus(self, workshop: Workshop) -> bool:
        """Explain what good answers otherwise, where there is such a thing."""
        found = contrasted(self.question, self.history, self.analysis, workshop, self.clock)
        self.clock.progress.note(found.reason or "; ".join(found.notes[:2]))
        if found.members:
            self.findings.ranked = self.findings.ranked or self.analysis.ranking
            self.analysis = refocused(self.analysis, found, self.history, self.question, self.clock)
        else:
            said = [*self.analysis.timelines.reasons, f"compared with good: {found.reason}"]
            self.analysis = replace(self.analysis, timelines=replace(self.analysis.timelines, reasons=said))
        self.findings.analysis = self.analysis
        return bool(found.members)

    def intervene(self, found: Reproduced) -> None:
        """Where both revisions fail: what heals it, if not code."""
        with self.clock.stage("intervene"):
            until = self._deadline(SHARE_OF_BISECTION)
            tried = outcomes.beyond_code(found, self.analysis, self.history, self.clock.progress.note, until)
        self._note(tried, found.runner.suspects if found.runner else frozenset())

    def is_configuration(self) -> bool:
        """Whether good's configuration alone heals bad; then no commit needs to be looked for."""
        found = self.findings.reproduced
        if found is None:
            return False
        with self.clock.stage("intervene"):
            until = self._deadline(SHARE_OF_BISECTION)
            tried = outcomes.configuration(found, self.history, self.clock.progress.note, until)
        decides = outcomes.decides(tried.intervention if tried else None)
        self._note([tried] if tried else [], found.runner.suspects if found.runner and decides else frozenset())
        return decides

    def _note(self, tried: list[Tried], suspects: frozenset[str] = frozenset()) -> None:
        """Keep what was tried, what it supports, and which predictions it confirms or refutes."""
        every = [one.intervention for one in tried]
        self.findings.interventions += every
        found, report = deciding(every), self.findings.reproduced and self.findings.reproduced.reproduction
        if found is not None and report:
            self.findings.counterfactual = claims(found)
            self.findings.patch = PatchSummary(reason="no commit is to blame, so there is nothing to patch")
            self.findings.conditions = write_both(
                report, next(one for one in tried if one.intervention is found), self.question.out, self.history
            )
        self.findings.analysis = self.analysis = outcomes.marked(self.analysis, every, suspects)

    def bisect(self, runner: LocalRunner, *, patience: int | None = None) -> str | None:
        """The culprit, or None; given up after so many revisions that answer in neither way."""
        history, rate, before = self.history, self._failure_rate(), self.findings.bisected
        known = {sha: seen for sha, seen in before.verdicts.items() if seen != "unknown"} if before else {}
        with self.clock.stage("bisect"):
            found = bisect(
                history.repository, runner, self.analysis.ranking, history.good, history.bad,
                failure_rate=rate,
                repeats=1 if rate >= 1 else min(outcomes.MOST_REPEATS, outcomes.repeats_for(rate)),
                deadline=self._deadline(SHARE_OF_BISECTION), watch=self.clock.progress.note, known=known,
                patience=patience,
            )  # fmt: skip
        self.findings.bisected = together(before, found)
        return found.culprit

    def wider(self, runner: LocalRunner) -> LocalRunner | None:
        """A runner that also knows the form which the failure has at revisions that could not be judged."""
        found, reproduced = self.findings.bisected, self.findings.reproduced
        if found is None or reproduced is None or not found.otherwise:
            return None
        with self.clock.stage("bisect"):
            wider = with_form_at(runner, Tree(revision=found.otherwise[0], label="form"))
            good = Tree(revision=self.history.good, label=GOOD)
            if wider is not None and wider.run(good, healthy=False).judgement != "good":
                wider = None  # good answers in that form, too
        if wider is not None:
            self.clock.progress.note(f"at {found.otherwise[0][:12]} the failure has another form: both are bad")
            report = reproduced.reproduction.model_copy(update={"predicate": wider.predicate})
            self.findings.reproduced = replace(reproduced, reproduction=report, runner=wider)
            where, history = self.question.out / "repro", self.history
            repro_files.write(report, wider, where, good=history.good, bad=history.bad)
        return wider

    def _failure_rate(self) -> float:
        report = self.findings.reproduced.reproduction if self.findings.reproduced else None
        return report.rate if report else 1.0

    def _deadline(self, share: float) -> float:
        return time.monotonic() + max(60.0, share * self.question.budget_s - self.clock.elapsed)

    def claims(self, runner: LocalRunner, culprit: str) -> Proof:
        """The three claims, each resting on runs."""
        bisected = self.findings.bisected
        with self.clock.stage("counterfactual"):
            until = min(time.monotonic() + CLAIMS_SECONDS, self._deadline(SHARE_OF_CLAIMS))
            proof = counterfactual(
                self.history.repository, runner, culprit, self.history.good, self.history.bad,
                transition=bisected.transition if bisected else None, hints=self.analysis.ranking.functions,
                seconds=CLAIM_SECONDS, deadline=until, watch=self.clock.progress.note,
            )  # fmt: skip
        self.findings.counterfactual = same_failure(proof.counterfactual, runner.predicate)
        files = proof.healing[0].tree.overlay if proof.healing else ()
        self.findings.twins = twins(self.history.repository, culprit, self.history.good, self.history.bad, files)
        return proof

    def patch(self, runner: LocalRunner, proof: Proof) -> None:
        """The smallest healing patch that passes every check; else the best one with the checks that it failed."""
        repository, bad = self.history.repository, self.history.bad
        begun = time.monotonic()
        until = min(begun + CANDIDATES_SECONDS, self._deadline(SHARE_OF_SEARCH))
        if proof.healing:
            runner = as_healed(runner, proof.healing[0].tree)
        found = self.findings.reproduced
        quick = hasty(runner, found.reproduction) if found else runner
        candidates = minimise(
            repository, quick, proof.healing, bad, hints=self.analysis.ranking.functions,
            seconds=SEARCH_SECONDS, deadline=until, watch=self.clock.progress.note,
        )  # fmt: skip
        with Verifier(
            repository, runner, bad, self._suspected().test, good=self.history.good,
            new_test=plain_test(self.question.out / "repro"), watch=self.clock.progress.note,
            deadline=min(begun + PATCH_SECONDS, self._deadline(1.0)),
            slower=_slower if runner.predicate.slower_than_s and not runner.predicate.ended else None,
        ) as verifier:  # fmt: skip
            self._keep(first_verified(
                candidates, self.proposals, verifier, self.clock.stage, until=until, better=self._keep,
            ))  # fmt: skip

    def _keep(self, found: Verified) -> None:
        """The best patch so far: an investigation that is cut short has it too."""
        summary, culprit = found.summary, self.findings.bisected.culprit if self.findings.bisected else None
        if summary.verified and found.candidate is not None and culprit and summary.origin != "model":
            some, whole = share(self.history.repository, found.candidate.tree, culprit)
            said = f"puts back {some} of the {whole} statements that {culprit[:12]} changed"
            summary = summary.model_copy(update={"reason": said if some <= whole else summary.reason})
        self.findings.patch, self.findings.candidate = summary, found.candidate

    def proposals(self) -> Iterable[PatchCandidate]:
        """Candidates that do not come from the culprit's own changes; checked last, in the same way."""
        return proposed(self.analysis, self.history, self.findings, self.clock.progress)

    def _suspected(self) -> ServiceDescription:
        own = [service for service in self.question.services if service.good and service.bad]
        predicate = self.analysis.timelines.predicate
        return next((one for one in own if predicate and one.name == predicate.service), own[0])


def _slower(good: Sequence[float], other: Sequence[float]) -> bool:
    """The test that told the slowness of bad."""
    return slownesses.is_slower(slownesses.compare(good, other))
