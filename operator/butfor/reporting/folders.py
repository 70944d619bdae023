"""The folder that holds a verdict: every file is written whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from butfor.evidence.graphs import CausalGraph, Shape, Slice
from butfor.evidence.suspects import Ranking
from butfor.evidence.timelines import Timelines
from butfor.evidence.verdicts import Verdict
from butfor.reporting.jobs import ci_files, readme
from butfor.reporting.sentences import headline
from butfor.reporting.writing import write


@dataclass(frozen=True)
class Material:
    """What a report is made of beside the verdict. `culprit_diff` and `patch` are unified diffs, empty if none."""

    timelines: Timelines
    shape: Shape
    graph: CausalGraph
    cut: Slice
    ranking: Ranking
    culprit_diff: str = ""
    patch: bytes = b""


def report(verdict: Verdict, material: Material, out: Path) -> None:
    """Write the folder `out`: verdict.json, report.html, README.txt, the patch and the jobs, where there are any."""
    files = {"verdict.json": verdict.model_dump_json(indent=2) + "\n", "README.txt": readme(verdict, headline(verdict))}
    if verdict.reproduction.path:
        files |= ci_files()
    if material.patch:
        write(out / "patch.diff", material.patch)
    for name, text in files.items():
        write(out / name, text.encode())
