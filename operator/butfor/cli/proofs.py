"""`butfor prove`: replay what a verdict claims, on a machine that never saw the incident."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def prove(
    out: Annotated[Path, typer.Argument(help="the folder that butfor investigate wrote")],
    repo: Annotated[Path, typer.Option(help="a clone of the repository; it is only read")],
    repeats: Annotated[int, typer.Option(min=1, max=100, help="runs of each end of the range, and of the patch")] = 3,
    good: Annotated[str | None, typer.Option(help="the good revision (default: the reproduction's)")] = None,
    bad: Annotated[str | None, typer.Option(help="the bad revision (default: the reproduction's)")] = None,
    unisolated: Annotated[bool, typer.Option("--unisolated", help="run it even where no sandbox works")] = False,
) -> int:
    """Replay every claim of a verdict from its reproduction, its patch and the revisions; counts are not trusted.

    Exit code 0: all that is claimed held. 1: something did not hold. 3: cannot tell. 2: usage.
    """
    from butfor.cli.replays import replay

    return replay(out, repo, repeats, good, bad, unisolated=unisolated)
