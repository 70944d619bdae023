"""From a failure's evidence to places in code: exception frames, sampled stacks, and code that the graph names.

A place's weight says how close it is to the failure: 1 where it was raised (or where all samples stand), less by
`CLOSENESS` per caller. A place that the causal graph knows, but from which no path leads to the failure, counts half.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Literal

from butfor.evidence.graphs import CausalGraph
from butfor.evidence.predicates import FailurePredicate, Frame
from butfor.evidence.timelines import ExceptionSeen, RequestSeen, Timelines
from butfor.locating.reaching import Reach

CLOSENESS = 0.6
PATIENCE = 0.85
"""The same for a stack that waits: whoever should end the wait is as likely a peer of an outer frame."""
WAITING = 0.5
"""Where code waits says where the time goes and seldom who is to blame: another should have gone on."""
_BLOCKING = (
    "locks queues selectors threading queue socket ssl subprocess base_events futures tasks timeouts runners "
    "connection pool _asyncio _trio _sync _core"
)
BLOCKING = frozenset(_BLOCKING.split())
"""Modules outside a repository in which a thread or task stands that waits for another one."""
DISCONNECTED = 0.5
CALLED_OUT = 0.5
"""Of a frame that called code outside, which raised: it does so for every request."""
MOST_STACKS = 200
MOST_ROUTES = 20
Origin = Literal["stack", "sample", "wait", "graph", "message"]


@dataclass(frozen=True)
class Place:
    """A frame in the repository; `depth` is 0 at the innermost, 1 at its caller, and so on."""

    frame: Frame
    weight: float
    depth: int
    origin: Origin
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True)
class Stack:
    """Frames outermost first, its share of the failure (all stacks sum to 1), and what cites it."""

    frames: tuple[Frame, ...]
    share: float
    origin: Origin
    evidence: tuple[str, ...]


@dataclass(frozen=True)
class Scene:
    """What is known of where and how it failed. `types` and `messages` are those of the exceptions."""

    places: list[Place]
    stacks: list[Stack]
    types: list[str]
    messages: list[str]
    predicate: FailurePredicate | None
    healthy_routes: list[tuple[str, str]] = field(default_factory=list)
    """Method and route of healthy requests on other routes than the failing one."""


def survey(timelines: Timelines, graph: CausalGraph, reach: Reach, *, traces: bool = True) -> Scene:
    """Gather the places. With `traces` off only the graph's own nodes count."""
    predicate = timelines.predicate
    requests = [timelines.requests[i] for i in timelines.failing if i < len(timelines.requests)] if traces else []
    exceptions = _relevant([e for r in requests for e in r.exceptions], predicate)
    stacks = _shared(_stacks(exceptions, requests, predicate if traces else None))
    places = _weighed([p for stack in stacks for p in _places(stack)], graph, reach)
    places += _from_graph(graph, reach, {(p.frame.file, p.frame.line) for p in places})
    return Scene(
        places=sorted(places, key=lambda p: (-p.weight, p.depth, p.frame.file, p.frame.line)),
        stacks=stacks,
        types=_unique(t for e in exceptions for t in e.types) or list(predicate.exception_types if predicate else []),
        messages=_unique(e.message for e in exceptions) or _template(predicate),
        predicate=predicate if traces else None,
        healthy_routes=_healthy(timelines, predicate) if traces else [],
    )


def called(scene: Scene) -> Scene:
    """The scene where it is not the repository's code that raised, but what its frames on the stack called."""
    places = [replace(p, weight=p.weight * CALLED_OUT, origin="graph") for p in scene.places]
    return replace(scene, places=places)


def _healthy(timelines: Timelines, predicate: FailurePredicate | None) -> list[tuple[str, str]]:
    healthy = [timelines.requests[i] for i in timelines.healthy if i < len(timelines.requests)]
    routes = dict.fromkeys((r.method, r.route or r.target) for r in healthy)
    failing = predicate.route if predicate else ""
    return [pair for pair in routes if pair[1] != failing][:MOST_ROUTES]


def _template(predicate: FailurePredicate | None) -> list[str]:
    return [predicate.message_template] if predicate and predicate.message_template else []


def _unique(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))


def _relevant(exceptions: list[ExceptionSeen], predicate: FailurePredicate | None) -> list[ExceptionSeen]:
    """Those of the predicate's types; all, where the predicate names none or none matches."""
    wanted = {t.rsplit(".", 1)[-1] for t in (predicate.exception_types if predicate else [])}
    found = [e for e in exceptions if wanted & {t.rsplit(".", 1)[-1] for t in e.types}]
    return (found or exceptions)[:MOST_STACKS]


def _stacks(
    exceptions: list[ExceptionSeen], requests: list[RequestSeen], predicate: FailurePredicate | None
) -> Iterator[Stack]:
    for seen in exceptions:
        if any(f.in_repository for f in seen.frames):
            yield Stack(tuple(seen.frames), 1.0, "stack", (f"exception:{seen.span}",))
    if exceptions:
        return
    samples = [s for r in requests for s in r.samples if any(f.in_repository for f in s.frames)]
    for sample in samples[:MOST_STACKS]:
        origin: Origin = "wait" if _waits(sample.frames[-1]) else "sample"
        yield Stack(tuple(sample.frames), float(sample.count), origin, (f"samples:{sample.span}",))
    if not samples and predicate and predicate.frame and predicate.frame.in_repository:
        yield Stack((predicate.frame,), 1.0, "stack", tuple(predicate.evidence[:3]))


def _shared(stacks: Iterable[Stack]) -> list[Stack]:
    merged: dict[tuple[Frame, ...], Stack] = {}
    for stack in stacks:
        old = merged.get(stack.frames)
        merged[stack.frames] = replace(old, share=old.share + stack.share) if old else stack
    total = sum(s.share for s in merged.values()) or 1.0
    return [replace(s, share=s.share / total) for s in merged.values()]


def _places(stack: Stack) -> Iterator[Place]:
    inside = [f for f in stack.frames if f.in_repository]
    for depth, frame in enumerate(reversed(inside)):
        near, weight = (PATIENCE, stack.share * WAITING) if stack.origin == "wait" else (CLOSENESS, stack.share)
        yield Place(frame, weight * near**depth, depth, stack.origin, stack.evidence)


def _waits(innermost: Frame) -> bool:
    return not innermost.in_repository and PurePosixPath(innermost.file).stem in BLOCKING


def _weighed(places: list[Place], graph: CausalGraph, reach: Reach) -> list[Place]:
    best: dict[tuple[str, int], Place] = {}
    for place in places:
        key = (place.frame.file, place.frame.line)
        old = best.get(key)
        total = min(1.0, place.weight + (old.weight if old else 0.0))
        best[key] = replace(place, weight=total, depth=min(place.depth, old.depth if old else place.depth))
    return [_joined(place, graph, reach) for place in best.values()]


def _joined(place: Place, graph: CausalGraph, reach: Reach) -> Place:
    nodes = [n for n in graph.nodes if n.frame and _same(n.frame, place.frame)]
    if not nodes:
        return place
    node = max(nodes, key=lambda n: (reach.strength(n.id), n.frame is not None and n.frame.line == place.frame.line))
    factor = 1.0 if reach.strength(node.id) > 0 else DISCONNECTED
    return replace(place, weight=place.weight * factor, evidence=(*place.evidence, node.id, *reach.cited(node.id)))


def _same(one: Frame, other: Frame) -> bool:
    same_function = one.function.rsplit(".", 1)[-1] == other.function.rsplit(".", 1)[-1]
    return one.file == other.file and (one.line == other.line or same_function)


def _from_graph(graph: CausalGraph, reach: Reach, known: set[tuple[str, int]]) -> list[Place]:
    found = []
    for node in graph.nodes:
        frame = node.frame
        if frame and frame.in_repository and (frame.file, frame.line) not in known and reach.strength(node.id) > 0:
            weight = reach.strength(node.id) * (0.5 + 0.5 * node.unusual)
            found.append(Place(frame, weight, 1, "graph", (node.id, *reach.cited(node.id))))
            known.add((frame.file, frame.line))
    return found
