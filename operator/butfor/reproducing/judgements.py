"""From what a play saw to a run's outcome: the judgement of `plain.judging`, and the proof of what ran."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from butfor.evidence.plays import Observation, Plan
from butfor.evidence.predicates import FailurePredicate
from butfor.evidence.reproductions import Expectation
from butfor.evidence.runs import AnswerSeen, RunOutcome
from butfor.reproducing import signatures
from butfor.reproducing.plain import judging, proofs

LOG_TAIL = 4000


def judge(
    observation: Observation,
    plan: Plan,
    predicate: FailurePredicate,
    expected: Sequence[Expectation],
    *,
    suspects: frozenset[str] | None = None,
    renames: Mapping[str, str] | None = None,
) -> RunOutcome:
    """Judge a run by the predicate and by what good answers.

    `renames` maps file names of the tree under test to the predicate's; `suspects` are the services that run
    the tree under test (default: the predicate's service). Never raises for what the run did.
    """
    chosen = suspects if suspects is not None else frozenset({predicate.service})
    proof = ran_worktree(observation, plan, chosen)
    case = judging.Case(
        predicate_facts(predicate, plan), {one.id: one.model_dump() for one in expected}, renames=dict(renames or {}),
        roots=roots_of(observation, plan),
    )  # fmt: skip
    result = judging.decide(_facts(observation, predicate), case, ran_worktree=proof)
    return RunOutcome(
        judgement=result["judgement"], reason=_reason(result, observation), started=observation.started,
        infrastructure=observation.infrastructure, ran_worktree=proof,
        answers=[AnswerSeen(**answer) for answer in result["answers"]], exceptions=result["exceptions"],
        start_seconds=observation.start_seconds, seconds=observation.seconds, cpu_seconds=observation.cpu_seconds,
        log_tail=_tail(observation, predicate.service),
    )  # fmt: skip


def _facts(observation: Observation, predicate: FailurePredicate) -> dict[str, Any]:
    """Return what a play saw as plain JSON; with what the kernel saw in each request, where that tells the failure."""
    facts = observation.model_dump(mode="json")
    if predicate.by_kernel:
        for answer, seen in zip(facts["answers"], signatures.seen_in(observation, predicate), strict=True):
            answer["kernel"] = None if seen is None else [one.model_dump() for one in seen]
    return facts


def predicate_facts(predicate: FailurePredicate, plan: Plan) -> dict[str, Any]:
    """Return the predicate as plain JSON; `repeat` says that a slowness is measured several times in a run."""
    return {**predicate.model_dump(mode="json"), "repeat": plan.repeat > 1}


def roots_of(observation: Observation, plan: Plan) -> list[str]:
    """Return the folders that stand for the repository's root in paths which a run reports."""
    copies = [str(observation.folder / "scratch" / service.name / "worktree") for service in plan.services]
    return [*copies, *(str(service.worktree) for service in plan.services)]


def ran_worktree(observation: Observation, plan: Plan, suspects: frozenset[str]) -> bool | None:
    """Tell whether the suspected services ran the tree under test: True, False, or None (cannot be checked)."""
    found = [
        proofs.proof(observation.loaded_files.get(one.name, []), one.worktree, one.directory)
        for one in plan.services
        if one.name in suspects
    ]
    return proofs.together(found)


def _reason(result: Mapping[str, Any], observation: Observation) -> str:
    """Return why it was judged so; a call that no stub could answer may be why it cannot be."""
    missed = [f"{call} of {name}" for name, calls in observation.stub_misses.items() for call in calls]
    if result["judgement"] != "unknown" or not missed:
        return str(result["reason"])
    more = f" and {len(missed) - 1} more" if missed[1:] else ""
    return f"{result['reason']} (no answer was captured for {missed[0]}{more})"


def _tail(observation: Observation, service: str) -> str:
    path = observation.logs.get(service)
    return judging.read_tail(path, LOG_TAIL) if path is not None else ""
