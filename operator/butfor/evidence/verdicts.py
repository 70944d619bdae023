"""The verdict (design.md, *Verdict*): what is claimed, by which runs, and what is not known."""

from __future__ import annotations

from typing import Any, Literal

from butfor.evidence._base import Frozen
from butfor.evidence.graphs import Divergence, Slice
from butfor.evidence.kernels import JoinSummary
from butfor.evidence.predicates import FailurePredicate
from butfor.evidence.suspects import FunctionRef, Suspect

Outcome = Literal["CodeChange", "ConfigChange", "Dependency", "Resource", "Inconclusive"]
ClaimLevel = Literal["Proved", "Bisected", "Suspected", "None"]
VERDICT_SCHEMA_VERSION = 1


class Claim(Frozen):
    """One counterfactual claim. `held` is None when the runs cannot tell; `reason` then names why."""

    method: str = ""
    held: bool | None = None
    runs: int = 0
    reason: str = ""
    details: list[str] = []


class Counterfactual(Frozen):
    """The three claims of design.md."""

    transition: Claim = Claim(reason="not run")
    necessary: Claim = Claim(reason="not run")
    sufficient: Claim = Claim(reason="not run")


class Bisection(Frozen):
    """`log` is a `git bisect log` that replays; `runs` counts executions between the end points."""

    first_bad: str | None = None
    runs: int = 0
    git_bisect_runs: int | None = None
    log: str = ""
    reason: str = ""
    steps: list[dict[str, Any]] = []


class ReproductionSummary(Frozen):
    """Counts of the final runs; `path` is relative to the verdict's folder."""

    path: str | None = None
    healed_path: str | None = None
    """Where no commit is to blame: the same with the one thing set to its healthy value."""
    bad_runs: int = 0
    bad_failures: int = 0
    good_runs: int = 0
    good_failures: int = 0
    requests: int = 0
    sandbox: str = ""
    reason: str = ""


class Check(Frozen):
    """One check of a patch. `passed` None means it could not be run; `detail` says why."""

    name: str
    passed: bool | None
    detail: str = ""


class PatchSummary(Frozen):
    """The best patch, verified or not; `origin` is `revert`, `hunks`, `functions` or `model`."""

    path: str | None = None
    origin: str = ""
    verified: bool = False
    checks: list[Check] = []
    reason: str = ""


class CaptureSummary(Frozen):
    """Whether the capture was live, and what eBPF gave."""

    mode: Literal["live", "recorded"] = "live"
    bpf: str = "not captured"


class Population(Frozen):
    """How many requests the capture holds: failing as the predicate says, healthy ones of the same route, and all."""

    failing: int = 0
    healthy: int = 0
    requests: int = 0


class Verdict(Frozen):
    """`verdict.json`."""

    schema_version: int = VERDICT_SCHEMA_VERSION
    outcome: Outcome
    claim: ClaimLevel = "None"
    title: str = ""
    reason: str = ""
    next_step: str = ""
    """For Inconclusive: the probe, attribute or run that would decide."""
    predicate: FailurePredicate | None = None
    raised_in: str = ""
    """The service whose code raised the predicate's exception; empty where none was seen."""
    population: Population = Population()
    divergence: list[Divergence] = []
    suspects: list[Suspect] = []
    functions: list[FunctionRef] = []
    rank_before_runs: list[str] = []
    """Commits, best first, as ranked before anything was executed."""
    counterfactual: Counterfactual = Counterfactual()
    bisection: Bisection = Bisection()
    reproduction: ReproductionSummary = ReproductionSummary()
    patch: PatchSummary = PatchSummary()
    slice: Slice = Slice()
    capture: CaptureSummary = CaptureSummary()
    join: JoinSummary = JoinSummary()
    losses: list[str] = []
    degraded: list[str] = []
    unknown: list[str] = []
    timings: dict[str, float] = {}
