"""What a language model is told when one is configured: summaries and the code at fault, never raw telemetry.

Names, kinds, counts and code only; values of requests, attributes and payloads are not in any section, and what looks
like a secret is masked once more before the prompt is handed to the port.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from butfor.capturing.sensitivities import patterns
from butfor.evidence.predicates import FailurePredicate
from butfor.evidence.suspects import FunctionRef
from butfor.investigating.analyses import Analysis, History
from butfor.patching.sources import is_source
from butfor.ports.models import Prompt
from butfor.reporting.sentences import masked, symptom
from butfor.reporting.situations import raised

AROUND = 60
"""Lines of a function's file that are shown below its first line."""
BEFORE = 10
MAX_FUNCTIONS = 6
MAX_PATHS = 10
TASK = (
    "Write the smallest patch of the files named under `candidates` that heals the failure and keeps what the commit"
    " was made for. Answer with exactly one unified diff in a ```diff block, paths as shown, three lines of context."
    " No new files, no renames, no changes of tests."
)
STANDARDS = (
    "The patch is applied to the failing revision and run: the failing request must get the answer of the good"
    " revision in ten runs of ten, every healthy request its own, no test of the service that passed may fail, no new"
    " error may be seen, and neither latency nor CPU time may grow. At most 10 files and 400 lines may change."
)


def paths_of(history: History, culprit: str) -> list[str]:
    """The source files that the culprit changed and that are there at bad."""
    known = set(history.repository.files(history.bad))
    changed = [change.path for change in history.repository.changes(culprit)]
    return [path for path in changed if path in known and is_source(path)][:MAX_PATHS]


def prompt(analysis: Analysis, history: History, culprit: str, paths: Sequence[str]) -> Prompt:
    """The prompt about one culprit; a patch of `paths` is asked for."""
    predicate = analysis.timelines.predicate
    predicted = [f"{one.intervention} ({one.outcome}): {_said(one.confirmed)}" for one in analysis.cut.predictions]
    sections = Prompt(
        signature=masked(_signature(predicate, analysis)), slice=_listed(predicted),
        divergence=_listed(one.detail for one in analysis.graph.divergence),
        candidates=_candidates(analysis, history, culprit, paths),
        standards=STANDARDS, task=TASK,
    )  # fmt: skip
    return Prompt(**{name: without_secrets(text) for name, text in vars(sections).items()})


def without_secrets(text: str) -> str:
    """The text with everything that has the form of a secret or of personal data masked."""
    kept, at = [], 0
    for one in sorted(patterns(text, in_code=True), key=lambda one: one.start):
        if one.start >= at:
            kept.append(text[at : one.start])
        at = max(at, one.end)
    return "***".join([*kept, text[at:]])


def _signature(predicate: FailurePredicate | None, analysis: Analysis) -> str:
    lines = [symptom(predicate)]
    if predicate and predicate.exception_types:
        lines.append(f"exception: {' from '.join(predicate.exception_types)}")
    stack = raised(analysis.timelines)[1]
    return "\n".join([*lines, *(f"  at {one.file}:{one.line} {one.function}" for one in stack[-12:])])


def _said(confirmed: bool | None) -> str:
    return {True: "confirmed by runs", False: "refuted by runs", None: "not tested"}[confirmed]


def _listed(texts: Iterable[str]) -> str:
    return "\n".join(f"- {masked(text)}" for text in list(dict.fromkeys(texts))[:12])


def _candidates(analysis: Analysis, history: History, culprit: str, paths: Sequence[str]) -> str:
    repository = history.repository
    parents = repository.parents(culprit)
    change = repository.diff(parents[0], culprit, list(paths)) if parents and paths else ""
    named = [one for one in analysis.ranking.functions if one.file in paths][:MAX_FUNCTIONS]
    parts = [f"Files that may be changed: {', '.join(paths)}", "The commit that the failure begins with:", change]
    return "\n\n".join([*parts, *(_code(history, one) for one in named)])


def _code(history: History, function: FunctionRef) -> str:
    content = history.repository.show(history.bad, function.file)
    lines = content.decode("utf-8", "replace").splitlines() if content is not None else []
    first = max(function.line - 1 - BEFORE, 0)
    shown = "\n".join(lines[first : function.line - 1 + AROUND])
    return f"{function.file} at the failing revision, from line {first + 1} ({function.name}):\n{shown}"
