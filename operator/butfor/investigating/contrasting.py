"""Asking good what the failure is, where the capture alone does not tell it or told the wrong one."""

from __future__ import annotations

from dataclasses import replace

from butfor.correlating.focusing import focus
from butfor.evidence.incidents import Symptom
from butfor.graphing import graph
from butfor.investigating.analyses import Analysis, History, environments_of
from butfor.investigating.progress import Clock
from butfor.investigating.questions import Question
from butfor.locating import locate
from butfor.reproducing import Contrast, Workshop, contrast, suspected
from butfor.shaping import shape
from butfor.slicing import slice_graph


def asked(symptom: Symptom) -> bool:
    """Whether a user said that something is wrong: without that, what differs between two revisions is no failure."""
    return any(value not in (None, "") for value in symptom.model_dump(exclude={"service"}).values())


def contrasted(question: Question, history: History, analysis: Analysis, workshop: Workshop, clock: Clock) -> Contrast:
    """What good answers otherwise than bad, of all that was captured; nothing where nobody asked."""
    answered = question.symptom.model_dump(exclude={"service", "route", "kernel", "note", "trace"}, exclude_none=True)
    if question.symptom.kernel is not None and not answered:
        return Contrast(reason="what was seen is in the kernel: no answer shows it")
    wanted = analysis.timelines.predicate.service if analysis.timelines.predicate else question.symptom.service
    suspects = suspected(question.services, workshop, wanted or "")
    if not asked(question.symptom) or not suspects:
        return Contrast(reason="no symptom was given to look for")
    with clock.stage("contrast"):
        return contrast(
            analysis.timelines, question.services, workshop, suspects, (history.good, history.bad), question.symptom,
            case=question.case,
        )  # fmt: skip


def refocused(analysis: Analysis, found: Contrast, history: History, question: Question, clock: Clock) -> Analysis:
    """The same analysis of the failure that the contrast found."""
    timelines, without = focus(analysis.timelines, found.members, found.answer, found.notes), question.without
    shaped = shape(timelines)
    causal = graph(timelines, shaped, without=without, environments=environments_of(question.services))
    cut = slice_graph(causal)
    with clock.stage("locate"):
        ranking = locate(
            causal, cut, timelines, history.repository, history.good, history.bad, directory=history.directory,
            without=without,
        )  # fmt: skip
    return replace(analysis, timelines=timelines, shape=shaped, graph=causal, cut=cut, ranking=ranking)
