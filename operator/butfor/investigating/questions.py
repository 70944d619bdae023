"""What an investigation is asked, and what it has found out so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from butfor.bisecting import BisectionResult
from butfor.evidence.incidents import Symptom
from butfor.evidence.services import ServiceDescription
from butfor.evidence.suspects import Ranking
from butfor.evidence.telemetry import Telemetry
from butfor.evidence.verdicts import Counterfactual, PatchSummary
from butfor.investigating.analyses import Analysis, History
from butfor.patching import Intervention, PatchCandidate
from butfor.reproducing import Reproduced


@dataclass(frozen=True)
class Question:
    """Bundle, service descriptions, symptom and repositories; nothing else is ever looked at.

    `histories`: service name to git folder. `case`: the folder that scripts see as CASE. `repository` with `good` and
    `bad` serves where no description of the service is known: commits can then be ranked but nothing can be run.
    """

    bundle: Path | Telemetry
    out: Path
    title: str = ""
    services: list[ServiceDescription] = field(default_factory=list)
    symptom: Symptom = field(default_factory=Symptom)
    histories: Mapping[str, Path] = field(default_factory=dict)
    case: Path | None = None
    without: frozenset[str] = frozenset()
    budget_s: float = 1200.0
    analyse_only: bool = False
    recorded: bool = False
    """A bundle that is a recording may be used, though the kernel could be watched here."""
    repository: Path | None = None
    good: str | None = None
    bad: str | None = None
    keep: str | None = None
    """The store that the telemetry is kept in once the verdict is written; None: it is not."""


@dataclass
class Findings:
    """What the stages found, in their order; what was not reached stays None."""

    history: History | None = None
    analysis: Analysis | None = None
    ranked: Ranking | None = None
    """The ranking before any run, where runs changed what is explained."""
    reproduced: Reproduced | None = None
    bisected: BisectionResult | None = None
    counterfactual: Counterfactual | None = None
    interventions: list[Intervention] = field(default_factory=list)
    conditions: tuple[str, str] | None = None
    """The folders of the reproduction and of the same with the healthy value, where no commit is to blame."""
    twins: list[str] = field(default_factory=list)
    """Other commits of the range that make the culprit's change too."""
    candidate: PatchCandidate | None = None
    patch: PatchSummary | None = None
    degraded: list[str] = field(default_factory=list)
