"""What can be said of a failure without running anything: routes, the stack, where the time went, odd orders."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from statistics import median

from butfor.evidence.graphs import CausalGraph, Shape
from butfor.evidence.predicates import Frame
from butfor.evidence.timelines import RequestSeen, Timelines

MAX_ROUTES = 12
MAX_OPERATIONS = 10
MAX_FRAMES = 30
FOREIGN = 2
"""More frames in a row than these outside the repository are one line: they are seldom where to look."""


@dataclass(frozen=True)
class Route:
    """Requests of one route; medians in seconds, None where there is no such request. `why` is the commonest reason."""

    service: str
    name: str
    requests: int
    failed: int
    explained: bool
    failing_s: float | None
    healthy_s: float | None
    why: str


@dataclass(frozen=True)
class Operation:
    """Part of the critical path: mean seconds per failing request, `share` of all of it (0 to 1)."""

    service: str
    name: str
    seconds: float
    share: float
    pattern: str


@dataclass(frozen=True)
class Difference:
    """One way in which failing requests differ; `times` is how often in the failing trace."""

    detail: str
    times: int


@dataclass(frozen=True)
class Place:
    """A line of a stack; or `frames` in a row outside the repository, of which `text` names the packages."""

    text: str
    function: str
    own: bool
    frames: int = 1


@dataclass(frozen=True)
class Situation:
    """All of it, each list most telling first."""

    routes: list[Route] = field(default_factory=list)
    other_routes: int = 0
    raised_in: str = ""
    stack: list[Place] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    odd_orders: list[Difference] = field(default_factory=list)
    comparable: int = 0


def situation(timelines: Timelines, shape: Shape, graph: CausalGraph) -> Situation:
    """Sum up what the stages before any run have found."""
    failing = [timelines.requests[index] for index in timelines.failing]
    routes = _routes(timelines, failing)
    service, stack = raised(timelines)
    return Situation(
        routes=routes[:MAX_ROUTES], other_routes=max(len(routes) - MAX_ROUTES, 0), raised_in=service,
        stack=list(_places(stack))[-MAX_FRAMES:], operations=_operations(shape), differences=_differences(graph),
        odd_orders=_odd_orders(timelines), comparable=len(comparable(timelines)),
    )  # fmt: skip


def comparable(timelines: Timelines) -> list[RequestSeen]:
    """Healthy requests of the failing ones' routes."""
    wanted = {_key(timelines.requests[index]) for index in timelines.failing}
    return [one for one in (timelines.requests[index] for index in timelines.healthy) if _key(one) in wanted]


def raised(timelines: Timelines) -> tuple[str, list[Frame]]:
    """The service that the failing requests' exception was raised in, and its stack; empty where none was seen."""
    wanted = timelines.predicate.exception_types if timelines.predicate else []
    for request in (timelines.requests[index] for index in timelines.failing):
        for one in request.exceptions:
            if one.frames and set(one.types) & set(wanted):
                return _service_of(timelines, one.span) or request.service, one.frames
    return "", []


def _places(stack: list[Frame]) -> Iterator[Place]:
    for own, group in groupby(stack, lambda one: one.in_repository):
        frames = list(group)
        if own or len(frames) <= FOREIGN:
            yield from (Place(f"{one.file}:{one.line}", one.function, own) for one in frames)
        else:
            yield Place(
                ", ".join(dict.fromkeys(_package(one.file) for one in frames)), "", own=False, frames=len(frames)
            )


def _package(file: str) -> str:
    """The package that an installed file is of, else its name."""
    inside = file.rpartition("-packages/")[2]
    return inside.partition("/")[0] if inside != file else file.rpartition("/")[2]


def _service_of(timelines: Timelines, span: str) -> str:
    ids, services = timelines.spans["span_id"], timelines.spans["service"]
    row = ids.index(span.partition("/")[2]).as_py()
    return str(services[row]) if row >= 0 else ""


def _key(request: RequestSeen) -> tuple[str, str, str]:
    return request.service, request.method, request.route


def _routes(timelines: Timelines, failing: list[RequestSeen]) -> list[Route]:
    explained = {_key(one) for one in failing}
    found: dict[tuple[str, str, str], list[RequestSeen]] = defaultdict(list)
    for request in timelines.requests:
        found[_key(request)].append(request)
    routes = [_route(key, seen, explained=key in explained) for key, seen in found.items()]
    return sorted(routes, key=lambda one: (not one.explained, -one.failed, -one.requests, one.service, one.name))


def _route(key: tuple[str, str, str], seen: list[RequestSeen], *, explained: bool) -> Route:
    failed = [one for one in seen if one.failed]
    why = Counter(one.why[0] for one in failed if one.why).most_common(1)
    return Route(
        key[0], f"{key[1]} {key[2]}", len(seen), len(failed), explained, _median(failed),
        _median([one for one in seen if not one.failed]), why[0][0] if why else "",
    )  # fmt: skip


def _median(seen: list[RequestSeen]) -> float | None:
    return median(one.duration_s for one in seen) if seen else None


def _operations(shape: Shape) -> list[Operation]:
    total = sum(node.critical_s for node in shape.nodes)
    patterns = {edge.target: edge.pattern for edge in shape.edges if edge.pattern != "call"}
    words = {"retry": "tried again and again", "n_plus_one": "once per item"}
    held = sorted((node for node in shape.nodes if node.critical_s > 0), key=lambda node: -node.critical_s)
    return [
        Operation(
            service=node.service, name=node.name, seconds=node.critical_s, share=node.critical_s / total,
            pattern=words.get(patterns.get(node.id, ""), ""),
        )
        for node in held[:MAX_OPERATIONS]
    ]  # fmt: skip


def _differences(graph: CausalGraph) -> list[Difference]:
    """Divergences in their order, those of the same words once."""
    return [Difference(text, times) for text, times in Counter(one.detail for one in graph.divergence).items()]


def _odd_orders(timelines: Timelines) -> list[Difference]:
    first: dict[str, str] = {}
    for one in timelines.findings:
        first.setdefault(one.kind, one.detail)
    counts = Counter(one.kind for one in timelines.findings)
    return [Difference(f"{kind.replace('_', ' ')}: {first[kind]}", times) for kind, times in counts.most_common()]
