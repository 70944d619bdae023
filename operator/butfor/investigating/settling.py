"""What the runs of a culprit say of the slice's predictions: confirmed, refuted, or as unknown as before."""

from __future__ import annotations

from dataclasses import replace

from butfor.investigating.analyses import Analysis
from butfor.investigating.questions import Findings, Question
from butfor.slicing import settle


def settled(question: Question, findings: Findings) -> Analysis | None:
    """The analysis with the predictions that the claims tested.

    Taking the culprit out of bad is the intervention that a service's code change node predicts to heal: *necessary*
    confirms it, and a complete removal that left the failure refutes it.
    """
    analysis, claims = findings.analysis, findings.counterfactual
    if analysis is None or claims is None or findings.bisected is None or findings.bisected.culprit is None:
        return analysis
    healed = {f"code_change:{_suspected(question, analysis)}": claims.necessary.held}
    return replace(analysis, cut=settle(analysis.cut, healed))


def _suspected(question: Question, analysis: Analysis) -> str:
    """The service whose history was searched."""
    own = [service.name for service in question.services if service.good and service.bad]
    predicate = analysis.timelines.predicate
    named = [name for name in own if predicate and name == predicate.service]
    return (named or own or [""])[0]
