"""The runs of `butfor demo`: captured live and investigated; then what was planted is told."""

from __future__ import annotations

import tempfile
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from pydantic import ValidationError
from rich.console import Console

from butfor.cli import evaluations
from butfor.cli.terminals import Terminal
from butfor.demo.incidents import DEFAULT, NAMES, materialize
from butfor.demo.recordings import record as keep_recording
from butfor.demo.recordings import recordings
from butfor.errors import InfrastructureError, UserError
from butfor.evaluating.evaluations import Settings, evaluate, find_histories, write_json
from butfor.evaluating.incidents import read_incident, read_truth
from butfor.evaluating.scores import accepted_commits, totals
from butfor.evidence.incidents import Truth
from butfor.evidence.verdicts import Verdict
from butfor.ports.benches import Bench
from butfor.ports.repositories import Repository
from butfor.reporting.terminal import again, summary

INCIDENTS = "incidents"
"""The folder, beside the verdicts, that holds the incidents themselves: histories, load, truth."""


def demo(
    name: str | None, *, everything: bool, listed: bool, out: Path, python: str | None, budget: float, recorded: bool,
    record: bool,
) -> int:  # fmt: skip
    """Show the incidents, or run one or all of them; `budget` is minutes for one; gives the exit code."""
    if listed:
        return show_list()
    if everything and name:
        raise UserError(f"{name} and --all: give one of them")
    cases = materialize(out / INCIDENTS, list(NAMES) if everything else [name or DEFAULT])
    settings = Settings(out=out, budget_s=budget * 60, bench=Bench.of_this_machine(python), recorded=recorded)
    with recordings([case.name for case in cases]) if recorded else nullcontext() as folder:
        settings = replace(settings, bundles=folder)
        rows = [_run(case, settings, f"[{i}/{len(cases)}] ") for i, case in enumerate(cases, 1)]
    if record and not recorded:
        for case in cases:
            typer.echo(f"recorded: {keep_recording(out / case.name / 'bundle', case.name)}")
    if everything:
        write_json(out / "demo.json", {"incidents": rows, "totals": totals(rows)})
        evaluations.show(rows)
    return exit_code(rows)


def show_list() -> int:
    """One line per incident."""
    console = Console(highlight=False, soft_wrap=True)
    with tempfile.TemporaryDirectory(prefix="butfor-demo-") as scratch:
        for case in materialize(Path(scratch)):
            mark = " (default)" if case.name == DEFAULT else ""
            console.print(f"{case.name:20} {read_incident(case).title}{mark}", markup=False)
    return 0


def exit_code(rows: list[dict[str, Any]]) -> int:
    """The worst of all: 1 where one could not be investigated, 3 where one is Inconclusive, else 0."""
    if any(row["error"] for row in rows):
        return 1
    return 3 if any(row["outcome"] == "Inconclusive" for row in rows) else 0


def _run(case: Path, settings: Settings, number: str) -> dict[str, Any]:
    incident = read_incident(case)
    row = evaluate(case, settings, Terminal(f"{number}{incident.id}: {incident.title}"))
    console = Console(highlight=False, soft_wrap=True)
    if row["error"]:
        console.print(f"{incident.id} could not be investigated: {row['error']}", markup=False, style="red")
        return row
    verdict, folder = read_verdict(Path(row["verdict"])), Path(row["verdict"]).parent
    revision, own, others = history(case)
    summary(verdict, folder, again=again(folder, verdict, revision, own, others), repository=own)
    for line, style in told(row, read_truth(case), case):
        console.print(line, markup=False, style=style)
    return row


def history(case: Path) -> tuple[str, Path, dict[str, Path]]:
    """Of the suspected service: the failing revision and the repository; then the other services' repositories."""
    incident = read_incident(case)
    histories = find_histories(incident, case, None)
    suspected = next(service for service in incident.services if service.good and service.bad)
    own = histories[suspected.name]
    return str(suspected.bad), own, {name: folder for name, folder in histories.items() if folder != own}


def read_verdict(path: Path) -> Verdict:
    """The verdict as it was written."""
    try:
        return Verdict.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise InfrastructureError(f"{path} cannot be read back: {str(error).splitlines()[0]}") from error


def told(row: dict[str, Any], truth: Truth | None, case: Path) -> list[tuple[str, str]]:
    """What was planted, and whether the verdict is right: lines with their styles."""
    if truth is None:
        return []
    if truth.culprit:
        planted = f"planted: {subject(case, truth.culprit)} in {', '.join(truth.functions or truth.files)}"
    else:
        planted = f"planted: no commit is to blame; the right outcome is {truth.outcome}"
    style, word = {True: ("green", "right"), False: ("red", "WRONG"), None: ("yellow", "undecided")}[right(row, truth)]
    lines = [(planted, ""), (f"verdict: {word}", style)]
    if (second := row["patch_heals_second_request"]) is not None:
        heals = "also heals" if second else "does NOT heal"
        lines.append((f"the patch {heals} a second request that runs into the same fault", ""))
    return lines


def right(row: dict[str, Any], truth: Truth) -> bool | None:
    """Whether outcome and first commit are the planted ones; None where the verdict does not say."""
    if row["outcome"] == "Inconclusive":
        return None
    if row["outcome"] != truth.outcome:
        return False
    return not accepted_commits(truth) or row["rank_after_bisection"] == 1


def subject(case: Path, commit: str) -> str:
    """Abbreviated id and subject of a commit of the suspected service's history."""
    incident = read_incident(case)
    suspected = next(service for service in incident.services if service.good and service.bad)
    with Repository(find_histories(incident, case, None)[suspected.name]) as repository:
        return f"{commit[:12]} ({repository.commits(f'{commit}^', commit)[0].subject})"
