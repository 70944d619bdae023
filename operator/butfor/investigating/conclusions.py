"""From findings to the verdict: which claim may be made, in whose words, and what stays unknown."""

from __future__ import annotations

from butfor.evidence.graphs import Slice
from butfor.evidence.kernels import JoinSummary
from butfor.evidence.predicates import FailurePredicate
from butfor.evidence.suspects import FunctionRef, Suspect
from butfor.evidence.verdicts import (
    Bisection,
    CaptureSummary,
    ClaimLevel,
    Counterfactual,
    Outcome,
    PatchSummary,
    Population,
    ReproductionSummary,
    Verdict,
)
from butfor.investigating.analyses import Analysis
from butfor.investigating.gaps import gaps, wanted
from butfor.investigating.progress import Clock
from butfor.investigating.questions import Findings, Question
from butfor.locating import patched
from butfor.locating.sources import PYTHON
from butfor.patching import claim_level, decide_outcome
from butfor.reporting.situations import comparable, raised

_PARTS = ("hunks", "functions")


def conclude(question: Question, findings: Findings, clock: Clock) -> Verdict:
    """The verdict that the findings allow, and no more."""
    outcome, reason, next_step = _outcome(question, findings)
    analysis, ranking = findings.analysis, findings.analysis.ranking if findings.analysis else None
    suspects = _suspects(findings)
    manifest = analysis.timelines.telemetry.bundle.manifest if analysis else None
    return Verdict(
        outcome=outcome, claim=_claim(outcome, findings), title=question.title, reason=reason, next_step=next_step,
        predicate=_predicate(findings), population=_population(analysis), raised_in=_raised_in(analysis),
        divergence=analysis.graph.divergence if analysis else [],
        suspects=suspects, functions=_functions(findings, suspects),
        rank_before_runs=[suspect.commit for suspect in (findings.ranked or ranking).suspects] if ranking else [],
        counterfactual=findings.counterfactual or _transition_only(findings),
        bisection=findings.bisected.bisection if findings.bisected else Bisection(reason="not run"),
        reproduction=_reproduction(findings), patch=_patch(findings), slice=analysis.cut if analysis else Slice(),
        capture=CaptureSummary(mode=manifest.mode, bpf=manifest.bpf) if manifest else CaptureSummary(),
        join=analysis.timelines.join if analysis else JoinSummary(),
        losses=[f"{loss.where}: {loss.count} ({loss.reason})" for loss in analysis.timelines.telemetry.losses]
        if analysis else [],
        degraded=findings.degraded, unknown=_unknown(findings), timings=clock.timings,
    )  # fmt: skip


def _outcome(question: Question, findings: Findings) -> tuple[Outcome, str, str]:
    if findings.bisected and findings.bisected.culprit:
        return "CodeChange", "the failure appears with this commit and not without it" + _also(findings.twins), ""
    if findings.interventions:
        outcome, reason = decide_outcome(findings.interventions)
        return outcome, reason, "" if outcome != "Inconclusive" else _untold(findings)
    return "Inconclusive", *_why_inconclusive(question, findings)


def _also(twins: list[str]) -> str:
    if not twins:
        return ""
    names = ", ".join(sha[:12] for sha in twins[:3]) + (f" and {len(twins) - 3} more" if twins[3:] else "")
    return f"; the same change is made by {names}, which it cannot be told from where both are merged"


def _untold(findings: Findings) -> str:
    """What would decide where interventions were run and none did."""
    if all(one.healed is False for one in findings.interventions):
        return "give an older good revision: the failure is older than this one, and nothing beside the code heals it"
    return "capture a healthy run of the same requests beside"


def _why_inconclusive(question: Question, findings: Findings) -> tuple[str, str]:
    analysis = findings.analysis
    if analysis is None or analysis.timelines.predicate is None:
        why = "; ".join(analysis.timelines.reasons) if analysis else "nothing could be read"
        said = "capture while it fails, or say what was seen with --symptom"
        if question.symptom.kernel is not None:
            said = "capture while it fails, where the kernel can be watched: butfor doctor says what that needs"
        return why or "no failure was found in the bundle", said
    if findings.history is None:
        return "no repository with a good and a bad revision was given, so no commit could be named", wanted(analysis)
    if question.analyse_only:
        return "nothing was executed, as asked", "run again without --analyse-only"
    if findings.reproduced is None:
        return (
            "how the service is started is not known, so nothing could be run",
            "describe it in butfor.yaml (name, setup, run, ready) and give it with --service",
        )
    if not findings.reproduced.reproduction.reproduced:
        return f"not reproduced: {findings.reproduced.reproduction.reason}", _after(findings)
    bisection = findings.bisected.bisection if findings.bisected else None
    return (bisection.reason if bisection else "") or "the bisection did not end at one commit", _left_over(findings)


def _after(findings: Findings) -> str:
    reason = findings.reproduced.reproduction.reason if findings.reproduced else ""
    if reason.startswith("does not start"):
        return "make the service start from its description: setup, prepare, run, ready"
    if reason.startswith("bad does not fail"):
        return "capture the requests that build the state the failure needs, or give the environment it ran in"
    if reason.startswith("good fails too"):
        return "give an older good revision; or capture a healthy run, so that its downstream answers can be put back"
    return "capture again with more of the failing requests"


def _left_over(findings: Findings) -> str:
    left = findings.bisected.candidates if findings.bisected else []
    if not left:
        return ""
    named = ", ".join(sha[:12] for sha in left[:10]) + (f" and {len(left) - 10} more" if left[10:] else "")
    steps = findings.bisected.bisection.steps if findings.bisected else []
    unknown = {str(step["commit"]): str(step["reason"]) for step in steps if step["judgement"] == "unknown"}
    odd = [(sha, why) for sha, why in unknown.items() if not why.startswith(("does not start", "could not be run"))]
    if odd:
        sha, why = odd[0]
        said = f"{len(odd)} of them answer neither as good does nor as captured ({sha[:12]}: {why[:200]})"
        return f"{said}; look at each with repro/run: {named}"
    return f"make the revisions between them start (setup, prepare), or look at each with repro/run: {named}"


def _claim(outcome: Outcome, findings: Findings) -> ClaimLevel:
    ranked = len(findings.analysis.ranking.suspects) if findings.analysis else 0
    if outcome == "CodeChange":
        return claim_level(findings.counterfactual or _transition_only(findings), ranked)
    if outcome == "Inconclusive":
        return "Suspected" if ranked else "None"
    # an intervention that was run both ways is as much of a proof as there is where no commit is to blame
    return (
        "Proved" if any(i.kind == outcome and i.healed and i.returned for i in findings.interventions) else "Suspected"
    )


def _transition_only(findings: Findings) -> Counterfactual:
    return Counterfactual(transition=findings.bisected.transition) if findings.bisected else Counterfactual()


def _predicate(findings: Findings) -> FailurePredicate | None:
    if findings.reproduced and findings.reproduced.reproduction.predicate:
        return findings.reproduced.reproduction.predicate
    return findings.analysis.timelines.predicate if findings.analysis else None


def _suspects(findings: Findings) -> list[Suspect]:
    """The culprit first where runs named one, then its twins; else as ranked."""
    ranked = findings.analysis.ranking.suspects if findings.analysis else []
    culprit = findings.bisected.culprit if findings.bisected else None
    first = [suspect for suspect in ranked if suspect.commit == culprit]
    if culprit and not first:
        first = [Suspect(commit=culprit, score=0.0)]
    rest = [suspect for suspect in ranked if suspect.commit != culprit]
    return first + sorted(rest, key=lambda suspect: suspect.commit not in findings.twins)


def _population(analysis: Analysis | None) -> Population:
    if analysis is None:
        return Population()
    seen = analysis.timelines
    return Population(failing=len(seen.failing), healthy=len(comparable(seen)), requests=len(seen.requests))


def _raised_in(analysis: Analysis | None) -> str:
    return raised(analysis.timelines)[0] if analysis else ""


def _functions(findings: Findings, suspects: list[Suspect]) -> list[FunctionRef]:
    """The culprit's as ranked, then those in which a patch heals, which is one way of several.

    These come first where none of them is of Python, for the ranking knows no others.
    """
    known = findings.analysis.ranking.functions if findings.analysis else []
    if findings.bisected and findings.bisected.culprit and suspects and suspects[0].functions:
        known = suspects[0].functions
    healed = _healed(findings)
    ranked = any(one.file.endswith(PYTHON) for one in healed)
    return list(dict.fromkeys([*known, *healed] if ranked else [*healed, *known]))


def _healed(findings: Findings) -> list[FunctionRef]:
    """A patch that takes the whole commit back says nothing of where it heals; a model's says where it heals best."""
    candidate, history = findings.candidate, findings.history
    if candidate is None or history is None or candidate.origin not in _PARTS:
        return []
    return patched(history.repository, history.bad, candidate.diff)


def _reproduction(findings: Findings) -> ReproductionSummary:
    if findings.reproduced is None:
        return ReproductionSummary(reason="not run")
    found = findings.reproduced.reproduction
    return ReproductionSummary(
        path="repro" if found.reproduced or findings.conditions else None,
        healed_path=findings.conditions[1] if findings.conditions else None,
        bad_runs=found.bad_runs, bad_failures=found.bad_failures,
        good_runs=found.good_runs, good_failures=found.good_failures,
        requests=len(found.parts.requests) if found.parts else 0, sandbox=found.sandbox, reason=found.reason,
    )  # fmt: skip


def _patch(findings: Findings) -> PatchSummary:
    if findings.patch is None:
        return PatchSummary(reason="not reached")
    return findings.patch.model_copy(update={"path": "patch.diff" if findings.candidate else None})


def _unknown(findings: Findings) -> list[str]:
    analysis = findings.analysis
    notes: list[str] = []
    if analysis:
        notes += gaps(analysis.timelines.telemetry)
        notes += analysis.timelines.reasons + analysis.ranking.notes
    if findings.reproduced:
        notes += findings.reproduced.reproduction.notes
    return list(dict.fromkeys(notes))
