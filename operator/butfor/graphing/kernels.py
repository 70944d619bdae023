"""Kernel nodes: what failed, was given up or ended beneath a failing request's spans, and what it waited for.

A failure is one node per service, place and shape (kind, call, errno, target type). A limit that the errno names is a
resource node; a peer that no client span tells of is a downstream node. How unusual a shape is, healthy requests of
the same route tell, as far as the kernel was watched while they ran.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from butfor.evidence import families, names
from butfor.evidence.graphs import Node
from butfor.evidence.happenings import Happening
from butfor.evidence.kernels import LOOKUPS, lost_share
from butfor.graphing import limits, spans
from butfor.graphing.builders import Builder, digest
from butfor.graphing.scenes import Scene, Tree

MAX_NODES = 60
MAX_WAITS = 20
LEAST_SHARE = 0.5
"""Of the failing requests: what fewer show is not what makes them fail."""
LEAST_PART = 0.1
"""Of a request's duration: shorter waits are not why it is slow."""
_BEYOND = 1.5
_NOISE_S = 0.01
_OUTCOMES = {
    "connection.refused": "refused", "connection.reset": "reset", "connection.broken_pipe": "reset",
    "connection.unreachable": "refused", "timeout.connect": "timeout", "timeout": "timeout",
}  # fmt: skip
_CONNECTING = ("connect", "so_error", "abandon")
"""Kinds that only a client has; a peer that resets may be the service's own client."""


def add(builder: Builder, scene: Scene) -> None:
    """Adds failure nodes with their resources and downstreams, and what slow spans waited for."""
    if not scene.kernel:
        return
    compared = [tree for tree in scene.healthy if _watched(scene, tree)]
    _add_failures(builder, scene, compared)
    _add_waits(builder, scene, compared)


def divergences(builder: Builder, scene: Scene, rare: float) -> Iterator[tuple[int, Node]]:
    """When each kernel node of the representative first showed that at most the share `rare` of healthy ones have."""
    first: dict[str, int] = {}
    several = len(scene.failing) > 1
    for place in scene.representative.places:
        for one in scene.kernel.get(place.span.id, ()):
            first.setdefault(one.id, one.time)
    for node in sorted(builder.nodes.values(), key=lambda n: n.id):
        times = [first[cited] for cited in node.evidence if cited in first]
        if node.kind == "kernel" and times and node.unusual >= 1 - rare and _tells(node, several=several):
            yield min(times), node


def _tells(node: Node, *, several: bool) -> bool:
    """Whether it goes with the failure: half of the failing requests show it, and healthy ones could have.

    Programs look for what is not there when they do something for the first time: that tells something only where
    several failing requests do it.
    """
    if node.facts["failing_share"] < LEAST_SHARE or not node.facts["healthy_requests"]:
        return False
    return node.facts.get("errno") not in LOOKUPS or (several and node.facts["times"] > 1)


def failures(scene: Scene, tree: Tree) -> list[Happening]:
    """All failures in the spans of a request."""
    return [one for place in tree.places for one in scene.kernel.get(place.span.id, ()) if one.failure]


def _leading(scene: Scene, tree: Tree) -> list[Happening]:
    """Failures that may have led to the request's own: what is refused after its exception was seen did not."""
    wanted = {name.rpartition(".")[2] for name in scene.predicate.exception_types}
    times = [
        seen.time_ns
        for seen in tree.request.exceptions
        if seen.time_ns and wanted & {name.rpartition(".")[2] for name in seen.types}
    ]
    return [one for one in failures(scene, tree) if not times or one.time <= min(times)]


def _watched(scene: Scene, tree: Tree) -> bool:
    """Whether the kernel was watched when the request ran: else that it shows no failure tells nothing."""
    first, last = scene.kernel_range
    return first <= tree.request.start_ns <= last


def _add_failures(builder: Builder, scene: Scene, compared: Sequence[Tree]) -> None:
    seen: dict[str, list[tuple[Tree, Happening]]] = defaultdict(list)
    for tree in scene.failing:
        for one in _leading(scene, tree):
            seen[_id(scene, one)].append((tree, one))
    healthy = Counter(shape for tree in compared for shape in {one.shape for one in failures(scene, tree)})
    told = scene.timelines.telemetry
    kept = 1 - lost_share(told.losses, told.kernel.num_rows)  # what was lost may be what healthy requests show too
    unusual = {id_: round(kept * _unusual(healthy[several[0][1].shape], compared), 6) for id_, several in seen.items()}
    ranked = sorted(seen, key=lambda id_: (-unusual[id_], -len(seen[id_]), id_))
    for id_ in ranked[:MAX_NODES]:
        _add_failure(builder, scene, id_, seen[id_], unusual[id_], len(compared))


def _unusual(matches: int, compared: Sequence[Tree]) -> float:
    """With nothing to compare with, a failing call is as usual as not: programs probe and retry all the time."""
    return round(1 - matches / len(compared), 6) if compared else 0.5


def _id(scene: Scene, one: Happening) -> str:
    span = scene.spans.get(one.span)
    place = span.operation if span else ""
    service = span.service if span else scene.predicate.service
    return f"kernel:{service}:{digest(place, *one.shape)}"


def _add_failure(
    builder: Builder, scene: Scene, id_: str, seen: Sequence[tuple[Tree, Happening]], unusual: float, compared: int
) -> None:
    own = scene.representative.request.span
    ordered = sorted(seen, key=lambda pair: (pair[0].request.span != own, pair[1].time, pair[1].row))
    first = ordered[0][1]
    cited = [cite for _, one in ordered[:3] for cite in (one.id, one.span)]
    service = scene.spans[first.span].service if first.span in scene.spans else scene.predicate.service
    targets = Counter(one.remote or names.target(one.path) for _, one in ordered if one.remote or one.path)
    builder.node(
        id_, "kernel", first.said(), cited, value=first.error or first.kind, unusual=unusual,
        facts={
            "service": service, "kind": first.kind, "call": first.call, "errno": first.errno, "source": first.source,
            "target_type": first.target_type, "family": first.family_of_error, "times": len(ordered),
            "targets": [*(target for target, _ in targets.most_common(3)), *first.functions, *first.modules],
            "exact": first.exact, "confidence": round(first.confidence, 3), "after_s": round(first.seconds, 6),
            "healthy_requests": compared,
            "failing_share": round(len({tree.request.span for tree, _ in ordered}) / len(scene.failing), 4),
        },
    )  # fmt: skip
    _link(builder, scene, id_, [one for tree, one in ordered if tree.request.span == own], cited)
    _add_causes(builder, scene, builder.nodes[id_], first)


def _link(builder: Builder, scene: Scene, id_: str, own: Sequence[Happening], cited: Iterable[str]) -> None:
    """To the spans in which it happened, and to the exceptions that say the same there."""
    places = sorted({spans.node_of(builder, scene, one.span) for one in own}) or [spans.request_id(scene)]
    for place in places:
        builder.edge(id_, place, "synchronous", cited)
    family = builder.nodes[id_].facts["family"]
    said = [
        node.id
        for node in builder.nodes.values()
        if node.kind == "exception" and family != families.UNKNOWN and _alike(str(node.facts.get("family")), family)
        and node.facts.get("service") == builder.nodes[id_].facts["service"]
    ]  # fmt: skip
    for exception in sorted(said):
        builder.edge(id_, exception, "synchronous", cited)


def _alike(one: str, other: str) -> bool:
    return families.is_a(one, other) or families.is_a(other, one)


def _add_causes(builder: Builder, scene: Scene, node: Node, first: Happening) -> None:
    family = str(node.facts["family"])
    if family in limits.LIMITS:
        resource = limits.resource(builder, str(node.facts["service"]), family, node.evidence, node.unusual)
        builder.edge(resource, node.id, "resource_conflict", node.evidence)
    outcome = _OUTCOMES.get(family)
    if outcome and first.remote and first.kind in _CONNECTING and not _told(scene, first):
        _add_peer(builder, node, first, outcome)


def _told(scene: Scene, one: Happening) -> bool:
    """Whether a client span tells of this call: then its downstream node is there already."""
    span = scene.spans.get(one.span)
    return span is not None and span.kind in ("CLIENT", "PRODUCER")


def _add_peer(builder: Builder, node: Node, first: Happening, outcome: str) -> None:
    facts: dict[str, Any] = {
        "service": node.facts["service"], "outcome": outcome, "differs": ["outcome"], "itself_failed": None,
        "failing_share": node.facts["failing_share"], "kernel": True,
    }  # fmt: skip
    peer = builder.node(
        f"downstream:{first.remote}/connect", "downstream", f"{first.remote}: connect", node.evidence, exogenous=True,
        value=f"{outcome} after {first.seconds:.3f} s", unusual=node.unusual, facts=facts,
    )  # fmt: skip
    builder.edge(peer, node.id, "data", node.evidence)


def _add_waits(builder: Builder, scene: Scene, compared: Sequence[Tree]) -> None:
    """Off the CPU in the representative: each span's reasons, and those beyond what any healthy request waited.

    Requests of another route do something else, so that waits are compared within one route only.
    """
    mine = _waits(scene, scene.representative)
    healthy = [_waits(scene, tree) for tree in compared] if scene.scope == "route" else []
    failing = [_waits(scene, tree) for tree in scene.failing]
    for key, several in sorted(mine.items(), key=lambda one: -_seconds(one[1]))[:MAX_WAITS]:
        took, usual = _seconds(several), max((_seconds(one.get(key, ())) for one in healthy), default=0.0)
        _annotate(builder, scene, several, key[1], took)
        bound = max(_BEYOND * usual + _NOISE_S, LEAST_PART * scene.representative.request.duration_s)
        share = sum(_seconds(one.get(key, ())) > bound for one in failing) / len(failing)
        if healthy and took > bound and share >= LEAST_SHARE:
            facts = {"failing_share": round(share, 4), "healthy_requests": len(healthy), "times": len(several)}
            _add_wait(builder, scene, key, several, (took, usual), facts)


def _waits(scene: Scene, tree: Tree) -> dict[tuple[str, str], list[Happening]]:
    """Per operation and reason."""
    found: dict[tuple[str, str], list[Happening]] = defaultdict(list)
    for place in tree.places:
        for one in scene.kernel.get(place.span.id, ()):
            if one.kind == "off_cpu":
                found[place.span.operation, one.awaited].append(one)
    return found


def _seconds(several: Iterable[Happening]) -> float:
    return sum(one.seconds for one in several)


def _annotate(builder: Builder, scene: Scene, several: Sequence[Happening], what: str, took: float) -> None:
    node = spans.node_of(builder, scene, several[0].span)
    known = builder.nodes.get(node)
    if known is not None:
        waits = {**known.facts.get("waits_s", {}), what: round(took, 3)}
        builder.nodes[node] = known.model_copy(update={"facts": {**known.facts, "waits_s": waits}})


def _add_wait(
    builder: Builder, scene: Scene, key: tuple[str, str], several: Sequence[Happening], times: tuple[float, float],
    facts: dict[str, Any],
) -> None:  # fmt: skip
    service, what = scene.spans[several[0].span].service, key[1]
    cited = [cite for one in several[:3] for cite in (one.id, one.span)]
    node = builder.node(
        f"kernel:{service}:{digest(key[0], 'off_cpu', what)}", "kernel", f"waits for {what}", cited,
        value=f"{times[0]:.3f} s", healthy_value=f"at most {times[1]:.3f} s", unusual=1.0,
        facts={"service": service, "kind": "off_cpu", "waited_s": round(times[0], 3), "awaited": what, **facts},
    )  # fmt: skip
    builder.edge(node, spans.node_of(builder, scene, several[0].span), "synchronous", cited)
    if what in ("a lock", "a file lock"):
        limits.add_holders(builder, scene, node, service)
