"""The part that executes nothing: from a bundle and a history to ranked suspects."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from butfor.correlating import correlate
from butfor.evidence.graphs import CausalGraph, Shape, Slice
from butfor.evidence.incidents import Symptom
from butfor.evidence.services import ServiceDescription
from butfor.evidence.suspects import Ranking
from butfor.evidence.telemetry import Telemetry
from butfor.evidence.timelines import Timelines
from butfor.graphing import Environments, graph
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


def analyse(
    bundle: Path | Telemetry, symptom: Symptom, history: History | None, without: frozenset[str], clock: Clock,
    services: Sequence[ServiceDescription] = (),
) -> Analysis:  # fmt: skip
    """Run the stages ingest to locate, on a bundle or on what a store held.

    `without` names sources that are left out, to see what they add.
    `services` say under which environments good and bad ran.
    """
    with clock.stage("ingest"):
        telemetry = read(open_bundle(bundle)) if isinstance(bundle, Path) else bundle
        if "kernel" in without:
            telemetry = telemetry.unwatched()
    with clock.stage("correlate"):
        files = history.repository.files(history.bad) if history else None
        timelines = correlate(telemetry, symptom, repository_files=files)
    with clock.stage("shape"):
        shaped = shape(timelines)
    with clock.stage("graph"):
        causal = graph(timelines, shaped, without=without, environments=environments_of(services))
    with clock.stage("slice"):
        cut = slice_graph(causal)
    with clock.stage("locate"):
        ranking = _ranking(causal, cut, timelines, history, without)
    return Analysis(timelines, shaped, causal, cut, ranking)


def environments_of(services: Iterable[ServiceDescription]) -> dict[str, Environments]:
    """What services ran under at good and at bad, where their descriptions state two environments."""
    return {
        one.name: Environments(good=one.good_environment, bad=one.environment)
        for one in services
        if one.good_environment is not None
    }


def _ranking(
    causal: CausalGraph, cut: Slice, timelines: Timelines, history: History | None, without: frozenset[str]
) -> Ranking:
    if history is None:
        return Ranking(notes=["no repository was given: commits could not be ranked"])
    if history.good == history.bad:
        return Ranking(good=history.good, bad=history.bad, notes=["good and bad run the same commit"])
    return locate(
        causal, cut, timelines, history.repository, history.good, history.bad,
        directory=history.directory, without=without,
    )  # fmt: skip
