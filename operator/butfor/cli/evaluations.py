"""`butfor eval`: incidents from capture to verdict, scored."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from butfor.cli.options import SOURCES, parse_sources

COLUMNS = (
    ("id", "incident"), ("outcome", "outcome"), ("claim", "claim"), ("rank_before_runs", "rank before"),
    ("rank_after_bisection", "after"), ("proof_true", "true"), ("patch_verified", "patch"),
    ("patch_heals_second_request", "2nd"), ("runs", "runs"), ("git_bisect_runs", "git bisect"), ("error", "error"),
)  # fmt: skip

MINIMUM_WIDTH = 140


def evaluate(
    folder: Annotated[Path, typer.Argument(help="a folder of incidents, or one incident (incident.yaml inside)")],
    repos: Annotated[Path | None, typer.Option(help="clones, as DIR/owner+name, for `github:` repositories")] = None,
    only: Annotated[list[str] | None, typer.Option(help="only this incident; may be given again")] = None,
    without: Annotated[list[str] | None, typer.Option(help="leave a source out: " + ", ".join(SOURCES))] = None,
    json_path: Annotated[Path | None, typer.Option("--json", help="write the rows and totals here")] = None,
    out: Annotated[Path, typer.Option(help="where bundles, verdicts and reports go")] = Path("out/eval"),
    python: Annotated[str | None, typer.Option(help="interpreter for the services' environments")] = None,
    budget: Annotated[float, typer.Option(help="minutes for one incident")] = 20.0,
    analyse_only: Annotated[bool, typer.Option(help="stop before anything is executed: ranks only")] = False,
    bundles: Annotated[Path | None, typer.Option(help="the --out of an earlier run: nothing is captured anew")] = None,
) -> int:
    """Capture, investigate and score incidents; print a table and write the rows as JSON.

    Exit code 0 when every incident was evaluated, 1 when one could not be.
    """
    from butfor.cli.terminals import Terminal
    from butfor.evaluating.evaluations import Settings, write_json
    from butfor.evaluating.evaluations import evaluate as evaluate_one
    from butfor.evaluating.incidents import find_cases
    from butfor.evaluating.scores import totals
    from butfor.ports.benches import Bench

    cases = find_cases(folder, only)
    settings = Settings(
        out=out, repos=repos, without=parse_sources(without), analyse_only=analyse_only, bundles=bundles,
        budget_s=budget * 60, bench=Bench.of_this_machine(python),
    )  # fmt: skip
    rows = []
    for number, case in enumerate(cases, 1):
        rows.append(evaluate_one(case, settings, Terminal(f"[{number}/{len(cases)}] {case.name}")))
        if json_path:
            write_json(json_path, {"incidents": rows, "totals": totals(rows)})
    show(rows)
    return 1 if any(row["error"] for row in rows) else 0


def show(rows: list[dict[str, Any]]) -> None:
    """The rows as a table, then the totals."""
    from rich.console import Console
    from rich.table import Table

    from butfor.evaluating.scores import totals

    table = Table(title=None)
    for key, heading in COLUMNS:
        table.add_column(heading, overflow="fold", no_wrap=key in {"id", "outcome", "claim"})
    for row in rows:
        table.add_row(*("" if row[key] is None else str(row[key]) for key, _ in COLUMNS))
    console = Console()
    # a pipe has no width of its own, and a table squeezed into 80 columns cannot be read
    console.width = max(console.width, MINIMUM_WIDTH)
    console.print(table)
    for name, value in totals(rows).items():
        console.print(f"{name.replace('_', ' '):28}{value}")
