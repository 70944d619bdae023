"""The folder that holds a verdict: every file is written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from butfor.evidence.graphs import CausalGraph, Shape, Slice
from butfor.evidence.suspects import Ranking
from butfor.evidence.timelines import Timelines
from butfor.evidence.verdicts import Verdict


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
    """Write the folder `out`."""
    if material.patch:
        write(out / "patch.diff", material.patch)
    write(out / "verdict.json", verdict.model_dump_json(indent=2).encode() + b"\n")


def write(path: Path, content: bytes) -> None:
    """Write to a temporary sibling, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(name).chmod(0o644)
    Path(name).replace(path)
