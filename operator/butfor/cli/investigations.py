"""`butfor investigate`: from a bundle and a repository to a verdict."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from butfor.cli.options import SOURCES, default_out, parse_sources, parse_symptom
from butfor.errors import UserError


def investigate(
    bundle: Annotated[
        Path | None, typer.Argument(help="a capture bundle (folder or .tar.zst), or a folder of *.otlp.jsonl")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(help="chdb://PATH or clickhouse://USER:SECRET@HOST/DB; without a bundle its otel_traces are read"),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="how much of the store: around --trace, else the last")
    ] = None,
    repo: Annotated[Path | None, typer.Option(help="the service's repository (a clone; it is never written)")] = None,
    good: Annotated[str | None, typer.Option(help="the last revision known to be fine")] = None,
    bad: Annotated[str | None, typer.Option(help="the revision that fails")] = None,
    service: Annotated[
        list[Path] | None,
        typer.Option(help="service description (butfor.yaml); default: in the bundle, then in the repository at bad"),
    ] = None,
    symptom: Annotated[
        list[str] | None,
        typer.Option(help="what was seen, as key=value: service, route, status, exception, latency_over_ms, kernel"),
    ] = None,
    kernel: Annotated[
        str | None, typer.Option(help="what the kernel saw fail, whatever was answered: 'connect ECONNREFUSED'")
    ] = None,
    trace: Annotated[str | None, typer.Option(help="a trace that failed; its failure is the one explained")] = None,
    out: Annotated[
        Path | None, typer.Option(help="the folder for verdict, report, reproduction and patch; default: out/NAME")
    ] = None,
    without: Annotated[list[str] | None, typer.Option(help="leave a source out: " + ", ".join(SOURCES))] = None,
    python: Annotated[str | None, typer.Option(help="interpreter for the service's environment")] = None,
    recorded: Annotated[bool, typer.Option(help="take a recording, though the kernel can be watched here")] = False,
    budget: Annotated[float, typer.Option(min=0.1, help="minutes")] = 20.0,
) -> int:
    """Name the commit but for which the failure would not have happened, and prove it by runs.

    Exit code 0: a verdict; 3: Inconclusive, with the reason; 2: usage; 1: our own failure.
    """
    from butfor.cli.terminals import Terminal
    from butfor.evaluating.incidents import read_model
    from butfor.evidence.services import ServiceDescription
    from butfor.investigating.descriptions import find_descriptions
    from butfor.investigating.investigations import Question
    from butfor.investigating.investigations import investigate as investigate_question
    from butfor.investigating.storing import from_store, kept_dsn
    from butfor.ports.benches import Bench
    from butfor.reporting.terminal import again, summary

    asked, left_out = parse_symptom(symptom or [], trace, kernel), parse_sources(without)
    _check(bundle, store, repo, good, bad)
    out, title = out or default_out(bundle or Path("store")), bundle.name if bundle else "what the store holds"
    with tempfile.TemporaryDirectory(prefix="butfor-") as scratch:
        services = [read_model(path, ServiceDescription) for path in service or []]
        if repo:
            services = services or find_descriptions(bundle, repo, str(bad), Path(scratch))
            services = [one.model_copy(update={"good": one.good or good, "bad": one.bad or bad}) for one in services]
        question = Question(
            title=title, bundle=bundle or from_store(str(store), asked.trace, minutes), services=services,
            symptom=asked, histories={one.name: repo for one in services} if repo else {}, case=None, out=out,
            without=left_out, budget_s=budget * 60, repository=repo, good=good, bad=bad,
            keep=(store or kept_dsn(out)) if bundle else None, recorded=recorded,
        )  # fmt: skip
        with Terminal(f"investigating {title}") as terminal:
            verdict = investigate_question(question, Bench.of_this_machine(python), terminal)
    summary(verdict, out, again=again(out, verdict, str(bad), repo) if repo else "", repository=repo)
    return 3 if verdict.outcome == "Inconclusive" else 0


def _check(bundle: Path | None, store: str | None, repo: Path | None, good: str | None, bad: str | None) -> None:
    from butfor.ports.repositories import Repository

    if bundle is None and store is None:
        raise UserError("nothing to investigate; give a bundle, or --store DSN to read otel_traces in place")
    if bundle is not None and not bundle.exists():
        raise UserError(f"{bundle} does not exist; butfor capture -- CMD writes a bundle")
    if repo is None and (good or bad):
        raise UserError("--good and --bad need --repo DIR, the repository that they are revisions of")
    if repo is not None and not (good and bad):
        raise UserError("--repo needs --good REV (last known fine) and --bad REV (fails)")
    if repo is not None:
        with Repository(repo) as repository:
            ends = repository.resolve(str(good)), repository.resolve(str(bad))
            if ends[0] != ends[1] and repository.is_ancestor(ends[1], ends[0]):
                raise UserError(f"good ({good}) is newer than bad ({bad}): swap them")
