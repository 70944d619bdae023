"""The verdict for a terminal: the sentence, the claims, and what to do next. Plain text where it is not one."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console

from butfor.evidence.verdicts import Verdict
from butfor.reporting.sentences import headline, held, joins, masked, ran, visible

STYLES = {"yes": "green", "no": "red", "cannot tell": "yellow"}
MAX_SUSPECTS = 3
MAX_UNKNOWN = 4
MAX_DIFFERENCES = 3
MAX_PREDICTIONS = 4


def summary(
    verdict: Verdict, out: Path, console: Console | None = None, *, again: str = "", repository: Path | None = None
) -> None:
    """Print what was found, by which runs, and the next commands. Colours only where the console has them.

    `again` is the command that runs the reproduction, `repository` the folder it was read from, where known.
    """
    console = console or Console(highlight=False, soft_wrap=True)
    _say(console, f"{headline(verdict)}.", "bold")
    _say(console, f"{verdict.outcome}, {verdict.claim}: {verdict.reason or 'no reason was given'}")
    if verdict.next_step:
        _say(console, f"what would decide: {verdict.next_step}", "yellow")
    if not ran(verdict):
        _seen(verdict, console)
    _claims(verdict, console)
    _patch(verdict, console)
    if verdict.claim not in ("Proved", "Bisected"):
        for one in verdict.suspects[:MAX_SUSPECTS]:
            _say(console, f"  suspect     {one.commit[:12]} {one.score:6.2f}  {one.subject}")
    _kernel(verdict, console)
    unknown = verdict.losses + verdict.degraded + verdict.unknown
    for text in unknown[:MAX_UNKNOWN]:
        _say(console, f"  not known   {text}", "dim")
    if len(unknown) > MAX_UNKNOWN:
        _say(console, f"  not known   {len(unknown) - MAX_UNKNOWN} more, see the report", "dim")
    _next(verdict, out, console, again, repository)


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(visible(text), markup=False, style=style)


def _seen(verdict: Verdict, console: Console) -> None:
    """What the evidence shows where nothing was run."""
    seen, predicate = verdict.population, verdict.predicate
    if predicate is None:
        return
    _say(console, f"  seen        {seen.failing} failing and {seen.healthy} healthy requests of this route")
    if predicate.frame:
        frame = predicate.frame
        _say(console, f"  raised at   {frame.file}:{frame.line} {frame.function}")
    for text in list(dict.fromkeys(one.detail for one in verdict.divergence))[:MAX_DIFFERENCES]:
        _say(console, f"  differs     {masked(text)}")
    for one in verdict.slice.predictions[:MAX_PREDICTIONS]:
        _say(console, f"  might heal  {masked(one.intervention)} ({one.outcome}, not tested)")


def _kernel(verdict: Verdict, console: Console) -> None:
    """What of the kernel is part of the failure, else what differs there, else how many events were joined."""
    join = verdict.join
    if not join.exact + join.inferred:
        return
    tuples = verdict.predicate.kernel if verdict.predicate else []
    shown = [f"{one.kind.replace('_', ' ')} {one.errno}".strip() for one in tuples[:2]]
    differs = [one.subject for one in verdict.divergence if one.kind == "kernel"][:2]
    said = "; ".join(masked(text) for text in shown or differs)
    _say(console, f"  kernel      {said + '; ' if said else ''}{joins(join)}")


def _claims(verdict: Verdict, console: Console) -> None:
    claims = verdict.counterfactual
    for name, claim in (
        ("transition", claims.transition),
        ("necessary", claims.necessary),
        ("sufficient", claims.sufficient),
    ):
        if claim.runs or claim.held is not None:
            how = claim.method or claim.reason
            _say(console, f"  {name:11} {held(claim):11} {how} ({claim.runs} runs)", STYLES[held(claim)])
    runs = verdict.reproduction
    if runs.bad_runs or runs.good_runs:
        counts = f"bad failed {runs.bad_failures}/{runs.bad_runs}, good failed {runs.good_failures}/{runs.good_runs}"
        _say(console, f"  {'reproduced':11} {counts}; {verdict.bisection.runs} bisection runs")


def _patch(verdict: Verdict, console: Console) -> None:
    if not verdict.patch.path:
        return
    failed = [one.name for one in verdict.patch.checks if one.passed is False]
    state = "verified" if verdict.patch.verified else f"not verified ({', '.join(failed) or verdict.patch.reason})"
    passed = sum(one.passed is True for one in verdict.patch.checks)
    unable = sum(one.passed is None for one in verdict.patch.checks)
    counts = f"{passed} of {len(verdict.patch.checks)} checks passed" + (
        f", {unable} could not be run" if unable else ""
    )
    _say(console, f"  {'patch':11} {state}: {counts}", "green" if verdict.patch.verified else "yellow")


def again(
    out: Path, verdict: Verdict, revision: str, repository: Path, others: Mapping[str, Path] | None = None
) -> str:
    """The command that judges a revision by the reproduction; `others` are histories of further services, by name."""
    words = [str(out / (verdict.reproduction.path or "repro") / "run"), revision, "--repo", str(repository)]
    return shlex.join(words + [word for name, path in (others or {}).items() for word in ("--other", f"{name}={path}")])


def _next(verdict: Verdict, out: Path, console: Console, again: str, repository: Path | None) -> None:
    _say(console, f"report: {out / 'report.html'}  ({sum(verdict.timings.values()):.1f} s)")
    if verdict.reproduction.path:
        run = shlex.quote(str(out / verdict.reproduction.path / "run"))
        _say(console, f"next:   {again or f'{run} REV --repo DIR'}")
    if verdict.claim in ("Proved", "Bisected"):
        folder = shlex.quote(str(repository)) if repository else "DIR"
        _say(console, f"prove:  butfor prove {shlex.quote(str(out))} --repo {folder}")
