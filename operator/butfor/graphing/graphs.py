"""Draws the causal graph of a failure from timelines and shape.

`without` leaves sources out, to see what they add: `traces` (no edge comes from a span or a payload: exceptions,
logs and code are left), `graph` (nodes only: no edges, no comparison with healthy requests).
"""

from __future__ import annotations

from collections.abc import Mapping

from butfor.evidence.graphs import CausalGraph, Shape
from butfor.evidence.predicates import FailurePredicate
from butfor.evidence.timelines import Timelines
from butfor.graphing import (
    divergences,
    downstreams,
    flows,
    inputs,
    kernels,
    limits,
    raisings,
    revisions,
    scenes,
    settings,
    spans,
)
from butfor.graphing.builders import Builder, Evidence
from butfor.graphing.scenes import Scene
from butfor.graphing.settings import Environments


def graph(
    timelines: Timelines, shape: Shape, *, without: frozenset[str] = frozenset(),
    environments: Mapping[str, Environments] | None = None,
) -> CausalGraph:  # fmt: skip
    """The graph; empty where nothing failed. `environments` are those of good and bad per service, if known."""
    if timelines.predicate is None or not timelines.failing:
        return CausalGraph()
    scene = scenes.scene(timelines, timelines.predicate)
    builder = Builder(Evidence(timelines))
    _add_failure(builder, scene, timelines.predicate)
    if "traces" in without:
        _draw_flat(builder, scene)
    else:
        _draw(builder, scene, shape, environments or {})
    return _finished(builder, scene, without)


def _add_failure(builder: Builder, scene: Scene, predicate: FailurePredicate) -> None:
    beneath = " ".join(f"{one.kind} {one.errno}".strip() for one in predicate.kernel[:1]) if predicate.by_kernel else ""
    said = str(predicate.ended or predicate.status or beneath or "fails")
    builder.node(
        spans.FAILURE, "failure", f"{predicate.method} {predicate.route}: {said}",
        [*predicate.evidence, *spans.cite(scene.representative)], value=said,
        facts={"healthy_requests": len(scene.healthy), "scope": scene.scope, "service": predicate.service,
               "failing_requests": len(scene.timelines.failing)},
    )  # fmt: skip


def _draw(builder: Builder, scene: Scene, shape: Shape, environments: Mapping[str, Environments]) -> None:
    spans.add(builder, scene, shape)
    raisings.add_exceptions(builder, scene)
    raisings.add_samples(builder, scene)
    raisings.add_located_spans(builder, scene)
    downstreams.add(builder, scene, shape)
    inputs.add(builder, scene)
    settings.add(builder, scene, environments)
    limits.add(builder, scene)
    kernels.add(builder, scene)
    flows.add(builder, scene)
    revisions.add(builder, scene)


def _draw_flat(builder: Builder, scene: Scene) -> None:
    raisings.add_exceptions(builder, scene, flat=True)
    limits.add(builder, scene, flat=True)
    revisions.add(builder, scene, flat=True)


def _finished(builder: Builder, scene: Scene, without: frozenset[str]) -> CausalGraph:
    nodes, edges = builder.finished()
    if "graph" in without:
        plain = [node.model_copy(update={"unusual": 0.0, "healthy_value": None}) for node in nodes]
        return CausalGraph(nodes=plain, failure=spans.FAILURE)
    found = [] if "traces" in without else divergences.find(builder, scene)
    return CausalGraph(nodes=nodes, edges=edges, failure=spans.FAILURE, divergence=found)
