"""A model's patch as one more candidate, where a model is configured; it goes through the same checks as any other."""

from __future__ import annotations

from collections.abc import Iterator

from butfor.investigating.analyses import Analysis, History
from butfor.investigating.progress import Progress
from butfor.investigating.prompts import paths_of, prompt
from butfor.investigating.questions import Findings
from butfor.patching import PatchCandidate, candidate_of, from_diff
from butfor.ports.models import Model


def proposed(analysis: Analysis, history: History, findings: Findings, progress: Progress) -> Iterator[PatchCandidate]:
    """Ask the configured model once; nothing where there is none. What was refused is said, never raised."""
    model = Model.from_environment()
    culprit = findings.bisected.culprit if findings.bisected else None
    if model is None or culprit is None:
        return
    try:
        yield from _asked(model, analysis, history, culprit, findings, progress)
    finally:
        model.close()


def _asked(
    model: Model, analysis: Analysis, history: History, culprit: str, findings: Findings, progress: Progress
) -> Iterator[PatchCandidate]:
    paths = paths_of(history, culprit)
    if not paths:
        _refuse(model, "the commit changes no source file that is still there", findings, progress)
        return
    progress.note(f"asking the model {model.name} for a patch of {', '.join(paths[:5])}")
    answer = model.propose(prompt(analysis, history, culprit, paths), paths)
    tree, reason = from_diff(history.repository, history.bad, answer.diff) if answer.diff else (None, answer.reason)
    if tree is None:
        _refuse(model, reason, findings, progress)
        return
    candidate = candidate_of(history.repository, tree, "model", f"proposed by {model.name}")
    if candidate.diff:
        yield candidate
    else:
        _refuse(model, "the patch changes nothing", findings, progress)


def _refuse(model: Model, reason: str, findings: Findings, progress: Progress) -> None:
    said = f"no patch of the model {model.name} was tried: {reason}"
    progress.note(said)
    findings.degraded.append(said)
