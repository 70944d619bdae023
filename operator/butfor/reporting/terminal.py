"""The verdict for a terminal."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from butfor.evidence.verdicts import Verdict


def summary(verdict: Verdict, out: Path) -> None:
    """Print the verdict's sentence and where its folder is."""
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{verdict.outcome} ({verdict.claim}): {verdict.reason}", markup=False)
    for suspect in verdict.suspects[:3]:
        console.print(f"  {suspect.commit[:12]} {suspect.score:7.2f} {suspect.subject}", markup=False)
    console.print(f"see {out}", markup=False)
