"""The part that executes nothing: from a bundle and a history to ranked suspects."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from butfor.correlating import correlate
from butfor.evidence.graphs import CausalGraph, Shape, Slice
from butfor.evidence.incidents import Symptom
from butfor.evidence.suspects import Ranking
from butfor.evidence.timelines import Timelines
from butfor.graphing import graph
from butfor.ingesting import read
from butfor.ingesting.bundles import open_bundle
from butfor.investigating.progress import Clock
from butfor.locating import locate
from butfor.ports.repositories import Repository
from butfor.shaping import shape
from butfor.slicing import slice_graph

ABLATIONS = ("kernel", "traces", "graph", "history")


@dataclass(frozen=True)
class History:
    """The suspected range of one repository; `directory` is the service's folder in it."""

    repository: Repository
    good: str
    bad: str
    directory: str = "."


@dataclass(frozen=True)
class Analysis:
    """What is known before anything is executed."""

    timelines: Timelines
    shape: Shape
    graph: CausalGraph
    cut: Slice
    ranking: Ranking


def analyse(bundle: Path, symptom: Symptom, history: History | None, without: frozenset[str], clock: Clock) -> Analysis:
    """Run the stages ingest to locate. `without` names sources that are left out, to see what they add."""
    with clock.stage("ingest"):
        telemetry = read(open_bundle(bundle))
    with clock.stage("correlate"):
        files = history.repository.files(history.bad) if history else None
        timelines = correlate(telemetry, symptom, repository_files=files)
    with clock.stage("shape"):
        shaped = shape(timelines)
    with clock.stage("graph"):
        causal = graph(timelines, shaped, without=without)
    with clock.stage("slice"):
        cut = slice_graph(causal)
    with clock.stage("locate"):
        ranking = _ranking(causal, cut, timelines, history, without)
    return Analysis(timelines, shaped, causal, cut, ranking)


def _ranking(
    causal: CausalGraph, cut: Slice, timelines: Timelines, history: History | None, without: frozenset[str]
) -> Ranking:
    if history is None:
        return Ranking(notes=["no repository was given: commits could not be ranked"])
    return locate(
        causal, cut, timelines, history.repository, history.good, history.bad,
        directory=history.directory, without=without,
    )  # fmt: skip
