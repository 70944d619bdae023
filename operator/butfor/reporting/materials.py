"""What a report is made of beside the verdict."""

from __future__ import annotations

from dataclasses import dataclass

from butfor.evidence.graphs import CausalGraph, Shape, Slice
from butfor.evidence.suspects import Ranking
from butfor.evidence.timelines import Timelines


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
