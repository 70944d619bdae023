"""Span nodes of the representative failing trace: what a child did reaches its parent, in order of time.

Edges point from cause to effect: a span to its parent (the parent waits for it: synchronous), a sibling to the
next one that started after it ended (happens-before), the request to the failure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise

from butfor.evidence.graphs import Shape, ShapedNode
from butfor.graphing.builders import Builder
from butfor.graphing.scenes import Place, Scene, Span, Tree

MAX_SPANS = 300
FAILURE = "failure"
_BEYOND = 1.5
_NOISE_S = 0.005


def add(builder: Builder, scene: Scene, shape: Shape) -> None:
    """Adds request, spans and their edges."""
    tree = scene.representative
    _add_request(builder, scene)
    kept = _kept(scene, shape)
    patterns = {e.target: e.pattern for e in shape.edges if e.pattern != "call"}
    shaped = {n.id: n for n in shape.nodes}
    for place in kept:
        _add_span(builder, scene, place, shaped.get(place.span.operation), patterns)
    _add_edges(builder, tree, {p.span.id for p in kept})


def node_of(builder: Builder, scene: Scene, span: str) -> str:
    """The node that stands for a span: its own, else its nearest kept ancestor's, else the request's."""
    seen: set[str] = set()
    while span and span not in seen:
        if f"span:{span}" in builder.nodes:
            return f"span:{span}"
        seen.add(span)
        span = scene.spans[span].parent if span in scene.spans else ""
    return request_id(scene)


def request_id(scene: Scene) -> str:
    """The node of the representative request."""
    return f"request:{scene.representative.request.span}"


def cite(tree: Tree) -> list[str]:
    """Evidence for a request: its span, else its payload."""
    request = tree.request
    return [request.span] if request.payload is None else [request.span, f"payload:{request.payload}"]


def _add_request(builder: Builder, scene: Scene) -> None:
    request = scene.representative.request
    node = builder.node(
        request_id(scene), "request", f"{request.method} {request.route}", cite(scene.representative),
        value=str(request.ended or request.status or "no answer"), unusual=1.0,
        facts={"service": request.service, "duration_s": round(request.duration_s, 6),
               "failing_requests": len(scene.timelines.failing), "why": request.why},
    )  # fmt: skip
    builder.edge(node, FAILURE, "synchronous", cite(scene.representative))


def _kept(scene: Scene, shape: Shape) -> list[Place]:
    """At most `MAX_SPANS` places: erroneous ones and those above them, then the critical path, then by order."""
    tree = scene.representative
    below = tree.places[1:]
    above = _above_errors(tree)
    critical = {n.id: n.critical_s for n in shape.nodes}
    ranked = sorted(
        range(len(below)),
        key=lambda i: (below[i].span.id not in above, -critical.get(below[i].span.operation, 0.0), i),
    )
    return [below[i] for i in sorted(ranked[:MAX_SPANS])]


def _above_errors(tree: Tree) -> set[str]:
    parents = {place.span.id: place.span.parent for place in tree.places}
    raised = {e.span for e in tree.request.exceptions}
    marked: set[str] = set()
    for place in tree.places:
        at = place.span.id if place.span.error or place.span.id in raised else ""
        while at in parents and at not in marked:
            marked.add(at)
            at = parents[at]
    return marked


def _add_span(
    builder: Builder, scene: Scene, place: Place, shaped: ShapedNode | None, patterns: Mapping[str, str]
) -> None:
    span = place.span
    same = sum(any(_alike(place, p) for p in t.places) for t in scene.healthy)
    builder.node(
        f"span:{span.id}", "span", f"{span.service}: {span.name}", [span.id],
        value="error" if span.error else "ok", unusual=scene.unusual(same, unknown=float(span.error)),
        facts={
            "service": span.service, "kind": span.kind, "operation": span.operation, "depth": place.depth,
            "duration_s": None if span.seconds is None else round(span.seconds, 6),
            "critical_s": shaped.critical_s if shaped else 0.0, "pattern": patterns.get(span.operation, "call"),
            "family": shaped.exception_family if shaped else None,
        },
    )  # fmt: skip


def _alike(place: Place, healthy: Place) -> bool:
    """The same place with the same status, and not clearly faster."""
    if place.key != healthy.key or place.span.error != healthy.span.error:
        return False
    took, usual = place.span.seconds, healthy.span.seconds
    return took is None or usual is None or took <= _BEYOND * usual + _NOISE_S


def _add_edges(builder: Builder, tree: Tree, kept: set[str]) -> None:
    siblings: dict[str, list[Span]] = defaultdict(list)
    root = tree.request.span
    # without the root, whose parent may be below it where parents run in a circle
    parents = {place.span.id: place.span.parent for place in tree.places[1:]}
    for place in tree.places[1:]:
        if place.span.id in kept:
            up = _nearest(place.span.parent, parents, kept)
            target = f"span:{up}" if up else f"request:{root}"
            builder.edge(f"span:{place.span.id}", target, "synchronous", [place.span.id, up or root])
            siblings[up].append(place.span)
    for group in siblings.values():
        _add_order(builder, sorted(group, key=lambda s: (s.start, s.id)))


def _nearest(span: str, parents: dict[str, str], kept: set[str]) -> str:
    """The nearest kept ancestor or the span itself; empty: the request."""
    while span in parents and span not in kept:
        span = parents[span]
    return span if span in kept else ""


def _add_order(builder: Builder, group: Sequence[Span]) -> None:
    for first, second in pairwise(group):
        if first.end is not None and first.end <= second.start:
            builder.edge(f"span:{first.id}", f"span:{second.id}", "happens_before", [first.id, second.id])
