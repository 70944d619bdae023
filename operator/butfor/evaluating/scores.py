"""Verdict against truth: the rows that `butfor eval` writes (design.md, *Incident*)."""

from __future__ import annotations

from statistics import mean
from typing import Any

from butfor.evidence.incidents import Incident, Truth
from butfor.evidence.verdicts import ReproductionSummary, Verdict


def rank_of(commits: list[str], accepted: set[str]) -> int | None:
    """The rank (from 1) of the first accepted commit, None when none is listed."""
    ranks = [
        i for i, commit in enumerate(commits, 1) if any(commit.startswith(a) or a.startswith(commit) for a in accepted)
    ]
    return ranks[0] if ranks else None


def accepted_commits(truth: Truth | None) -> set[str]:
    """The culprit and what is accepted beside it; empty when no commit is to blame or no truth is known."""
    if truth is None:
        return set()
    return {commit for commit in [truth.culprit, *truth.also_accepted] if commit}


def proof_true(verdict: Verdict, truth: Truth | None) -> bool | None:
    """Whether what was proved is so; None when nothing was proved or no truth is known."""
    if truth is None or verdict.outcome == "Inconclusive" or verdict.claim not in ("Proved", "Bisected"):
        return None
    if verdict.outcome != truth.outcome:
        return False
    if verdict.outcome != "CodeChange":
        return True
    if verdict.bisection.first_bad is None:
        return None
    return rank_of([verdict.bisection.first_bad], accepted_commits(truth)) == 1


def score(incident: Incident, verdict: Verdict, truth: Truth | None, second: bool | None, path: str) -> dict[str, Any]:
    """One row of the evaluation."""
    accepted = accepted_commits(truth)
    return {
        "id": incident.id,
        "outcome": verdict.outcome,
        "expected_outcome": truth.outcome if truth else None,
        "claim": verdict.claim,
        "rank_before_runs": rank_of(verdict.rank_before_runs, accepted),
        "rank_after_bisection": rank_of([suspect.commit for suspect in verdict.suspects], accepted),
        "candidates": len(verdict.rank_before_runs),
        "proof_true": proof_true(verdict, truth),
        "reproduction": reproduction(verdict.reproduction),
        "patch_verified": verdict.patch.verified,
        "patch_heals_second_request": second,
        "runs": verdict.bisection.runs,
        "git_bisect_runs": verdict.bisection.git_bisect_runs,
        "seconds": verdict.timings,
        "verdict": path,
        "error": None,
    }


def failed_row(incident_id: str, error: str) -> dict[str, Any]:
    """The row of an incident that could not be evaluated."""
    return {
        "id": incident_id, "outcome": None, "expected_outcome": None, "claim": "None", "rank_before_runs": None,
        "rank_after_bisection": None, "candidates": 0, "proof_true": None,
        "reproduction": reproduction(ReproductionSummary()), "patch_verified": False,
        "patch_heals_second_request": None, "runs": 0, "git_bisect_runs": None, "seconds": {}, "verdict": None,
        "error": error,
    }  # fmt: skip


def reproduction(summary: ReproductionSummary) -> dict[str, int]:
    """The counts of the final runs."""
    return summary.model_dump(include={"bad_runs", "bad_failures", "good_runs", "good_failures"})


def totals(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What a reader looks at first."""
    ratios = [row["runs"] / row["git_bisect_runs"] for row in rows if row["runs"] and row["git_bisect_runs"]]
    return {
        "incidents": len(rows),
        "right_outcome": sum(row["outcome"] is not None and row["outcome"] == row["expected_outcome"] for row in rows),
        "first_before_runs": sum(row["rank_before_runs"] == 1 for row in rows),
        "first_five_before_runs": sum((row["rank_before_runs"] or 99) <= 5 for row in rows),
        "first_after_bisection": sum(row["rank_after_bisection"] == 1 for row in rows),
        "reproduced": sum(_always(row["reproduction"]) for row in rows),
        "proved": sum(row["claim"] == "Proved" for row in rows),
        "bisected": sum(row["claim"] in ("Proved", "Bisected") for row in rows),
        "wrong_proofs": sum(row["proof_true"] is False for row in rows),
        "verified_patches": sum(row["patch_verified"] for row in rows),
        "patches_heal_second_request": sum(row["patch_heals_second_request"] is True for row in rows),
        "runs_against_git_bisect": round(mean(ratios), 3) if ratios else None,
        "errors": sum(row["error"] is not None for row in rows),
    }


def _always(counts: dict[str, int]) -> bool:
    return counts["bad_runs"] > 0 and counts["bad_failures"] == counts["bad_runs"] and counts["good_failures"] == 0
