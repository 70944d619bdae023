"""`butfor demo`: a shop that breaks, captured live and investigated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    name: Annotated[str | None, typer.Argument(help="an incident of --list; default: the one marked there")] = None,
    everything: Annotated[bool, typer.Option("--all", help="every incident, one after the other")] = False,
    listed: Annotated[bool, typer.Option("--list", help="name the incidents and what a user sees of each")] = False,
    out: Annotated[Path, typer.Option(help="verdicts go to OUT/NAME, the incidents to OUT/incidents")] = Path(
        "out/demo"
    ),
    python: Annotated[str | None, typer.Option(help="interpreter for the services' environments")] = None,
    budget: Annotated[float, typer.Option(help="minutes for one incident")] = 20.0,
    recorded: Annotated[
        bool, typer.Option(help="the capture of another machine, kernel events in it, instead of a live one")
    ] = False,
    record: Annotated[bool, typer.Option(help="keep the live capture as the recording that --recorded takes")] = False,
) -> int:
    """Break a small shop, capture it live, find the commit to blame, and prove it by runs.

    The first time installs the shop's services (needs a package index); then an incident takes a few minutes.
    Exit code 0: a verdict; 3: Inconclusive, with the reason; 2: usage; 1: our own failure.
    """
    from butfor.cli import demos

    return demos.demo(
        name, everything=everything, listed=listed, out=out, python=python, budget=budget, recorded=recorded,
        record=record,
    )  # fmt: skip
