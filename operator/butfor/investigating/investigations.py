"""From a question to a verdict, and the folder that holds it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from butfor.errors import UserError
from butfor.evidence.verdicts import Verdict
from butfor.investigating.analyses import History, analyse
from butfor.investigating.conclusions import conclude
from butfor.investigating.contrasting import asked
from butfor.investigating.progress import Clock, Progress
from butfor.investigating.proofs import Trial
from butfor.investigating.questions import Findings, Question
from butfor.investigating.settling import settled
from butfor.investigating.storing import keep, without_secret
from butfor.ports.benches import Bench
from butfor.ports.examinations import examined, works
from butfor.ports.repositories import Repository
from butfor.reporting import Material, report

__all__ = ["Question", "investigate"]
RUNNING = "the investigation was still running when this was written: what comes after was not run yet"


def investigate(question: Question, bench: Bench, progress: Progress) -> Verdict:
    """Answer a question; what cannot be decided becomes an Inconclusive verdict with its reason.

    Raises UserError for input that cannot be used, InfrastructureError for our own failure.
    """
    clock, findings = Clock(progress), Findings()
    try:
        question.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{question.out} cannot be made a folder: {error.strerror}; give another --out") from error
    with ExitStack() as stack:
        stack.callback(progress.done)
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="butfor-", ignore_cleanup_errors=True)))
        scratch.chmod(0o711)
        findings.history = _history(question, scratch, stack)
        findings.analysis = analyse(
            question.bundle, question.symptom, findings.history, question.without, clock, question.services
        )  # fmt: skip
        _live(question, findings)
        if _can_run(question, findings):
            with _saved(question, findings, clock):
                _conduct(question, findings, replace(bench, ran=progress.ran), scratch, clock)
        verdict = _written(question, findings, clock)
        _keep(question, findings, clock)
        return verdict


def _live(question: Question, findings: Findings) -> None:
    """Refuse a recording that nobody asked for where a live capture can be had: it would pass for one."""
    manifest = findings.analysis.timelines.telemetry.bundle.manifest if findings.analysis else None
    if manifest is None or manifest.mode != "recorded" or question.recorded or not works(examined()):
        return
    raise UserError("the bundle is a recording, and the kernel can be watched here; capture live, or give --recorded")


@contextmanager
def _saved(question: Question, findings: Findings, clock: Clock) -> Iterator[None]:
    """Write what the runs have shown so far where they are ended early, by a person or by a failure of ours."""
    try:
        yield
    except BaseException as error:
        if findings.bisected is not None:
            stopped = "interrupted" if isinstance(error, KeyboardInterrupt) else "ended by a failure of its own"
            findings.degraded.append(f"the investigation was {stopped}: what comes after was not run")
            _written(question, findings, clock)
            clock.progress.note(f"what was known by then is in {question.out}")
        raise


def _keep(question: Question, findings: Findings, clock: Clock) -> None:
    """The verdict is written already: a store that does not take the telemetry is no more than a note."""
    if question.keep is None or findings.analysis is None:
        return
    with clock.stage("store"):
        reason = keep(findings.analysis.timelines.telemetry, question.keep)
    clock.progress.note(
        f"the telemetry was not kept: {reason}" if reason else f"telemetry kept: {without_secret(question.keep)}"
    )


def _history(question: Question, scratch: Path, stack: ExitStack) -> History | None:
    suspected = [one for one in question.services if one.good and one.bad]
    wanted = question.symptom.service
    service = next((one for one in suspected if one.name == wanted), suspected[0] if suspected else None)
    if service is not None and service.name in question.histories:
        folder, good, bad, directory = question.histories[service.name], service.good, service.bad, service.directory
    elif question.repository is not None:
        folder, good, bad, directory = question.repository, question.good, question.bad, "."
    else:
        return None
    repository = stack.enter_context(Repository(folder, _made(scratch / "reading")))
    history = History(repository, repository.resolve(str(good)), repository.resolve(str(bad)), directory)
    if history.good == history.bad and not any(one.good_environment is not None for one in suspected):
        raise UserError(f"good and bad are the same commit {history.good[:12]}; there is nothing between them")
    return history


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _can_run(question: Question, findings: Findings) -> bool:
    known = any(one.good and one.bad for one in question.services)
    seen = findings.analysis.timelines if findings.analysis is not None else None
    failed = seen is not None and (seen.predicate is not None or (bool(seen.requests) and asked(question.symptom)))
    return known and failed and findings.history is not None and not question.analyse_only


def _conduct(question: Question, findings: Findings, bench: Bench, scratch: Path, clock: Clock) -> None:
    assert findings.history is not None
    assert findings.analysis is not None
    findings.degraded += bench.sandbox.shortcomings()
    bench, difference = bench.suited(_interpreter(question, findings))
    findings.degraded += [difference] if difference else []
    with _watching(question, findings, bench) as watched:
        trial = Trial(question, findings.history, findings.analysis, watched, scratch, clock, findings)
        trial.save = partial(_draft, question, findings, clock)
        trial.conduct()


def _watching(question: Question, findings: Findings, bench: Bench) -> AbstractContextManager[Bench]:
    """A bench whose runs the kernel watches, where its events are part of the failure and nobody left them out."""
    predicate = findings.analysis.timelines.predicate if findings.analysis else None
    wanted = predicate is not None and bool(predicate.kernel) and "kernel" not in question.without
    return bench.watched() if wanted and bench.kernel is None else nullcontext(bench)


def _interpreter(question: Question, findings: Findings) -> str | None:
    """What the capture says of the interpreter of the services under suspicion, where it says the same of all."""
    assert findings.analysis is not None
    manifest = findings.analysis.timelines.telemetry.bundle.manifest
    suspected = {one.name for one in question.services if one.good and one.bad}
    said = {one.interpreter for one in (manifest.services if manifest else []) if one.name in suspected}
    return said.pop() if len(said) == 1 else None


def _written(question: Question, findings: Findings, clock: Clock) -> Verdict:
    with clock.stage("report"):
        findings.analysis = settled(question, findings)
        verdict = conclude(question, findings, clock)
        report(verdict, _material(findings), question.out)
    return verdict


def _draft(question: Question, findings: Findings, clock: Clock) -> None:
    """Write what is known by now, while the rest still runs: whoever ends it without a warning loses little."""
    now = replace(findings, analysis=settled(question, findings), degraded=[*findings.degraded, RUNNING])
    report(conclude(question, now, clock), _material(now), question.out)


def _material(findings: Findings) -> Material:
    analysis, history, culprit = findings.analysis, findings.history, None
    assert analysis is not None
    if findings.bisected and history:
        culprit = findings.bisected.culprit
    parents = history.repository.parents(culprit) if history and culprit else []
    return Material(
        timelines=analysis.timelines, shape=analysis.shape, graph=analysis.graph, cut=analysis.cut,
        ranking=analysis.ranking, patch=findings.candidate.diff if findings.candidate else b"",
        culprit_diff=history.repository.diff(parents[0], culprit) if history and culprit and parents else "",
    )  # fmt: skip
