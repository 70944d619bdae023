"""Where the failing trace first differs from many healthy ones, and how unusual that is.

What can differ: a span that healthy requests do not have, one that all have and is not there, a span's status, a
duration beyond every healthy one, a call that fails or waits in the kernel as in no healthy request, and code that no
healthy request passed through. Each is dated by when it could be known (a span when it starts, its status when it
ends): the first is where to look first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from butfor.evidence.graphs import Divergence, DivergenceKind, Node
from butfor.graphing import kernels, spans
from butfor.graphing.builders import Builder
from butfor.graphing.scenes import Place, Scene

MAX_DIVERGENCES = 20
RARE = 0.05
_BEYOND = 1.5


@dataclass(frozen=True)
class _Seen:
    """A difference with the moment it could be known.

    Where two are known at once the deeper one is first, and what happened before what did not happen after it.
    """

    time: int
    depth: int
    span: str
    detail: str
    healthy: int
    kind: DivergenceKind
    subject: str = ""


def find(builder: Builder, scene: Scene) -> list[Divergence]:
    """Divergences of the representative, first things first; empty without a healthy population."""
    if not scene.healthy:
        return []
    seen = [*_spans(scene), *_missing(scene)] if scene.scope == "route" else [*_statuses(scene)]
    ordered = sorted(seen, key=lambda s: (s.time, -s.depth, s.kind == "missing", s.span, s.detail))
    told = [(s.time, _divergence(builder, scene, s)) for s in ordered]
    told += [(time, _kernel(scene, node)) for time, node in kernels.divergences(builder, scene, RARE)]
    found = [one for _, one in sorted(told, key=lambda pair: pair[0])]
    return _without_repeats([*found, *_code(builder, scene)])[:MAX_DIVERGENCES]


def _spans(scene: Scene) -> Iterator[_Seen]:
    present = Counter(key for t in scene.healthy for key in {p.key for p in t.places})
    failed = Counter(key for t in scene.healthy for key in {p.key for p in t.places if p.span.error})
    longest = _longest(scene)
    rare = RARE * len(scene.healthy)
    new: set[str] = set()
    for place in _called(scene):
        parent = place.key.rpartition(">")[0]
        if present[place.key] <= rare and place.depth:
            new.add(place.key)
            if parent not in new:  # what a new span calls is new as well
                yield _at(place, place.span.start, "is not called in healthy requests", present[place.key], "new")
        elif place.span.error and failed[place.key] <= rare:
            yield _failed(scene, place, "", failed[place.key])
        yield from _slow(scene, place, longest)


def _called(scene: Scene) -> list[Place]:
    """What the service called: not what capture tells of it in the form of a span."""
    return [place for place in scene.representative.places if not place.span.evidence]


def _statuses(scene: Scene) -> Iterator[_Seen]:
    """Against other routes only errors can be compared, per operation."""
    failed = Counter(o for t in scene.healthy for o in {p.span.operation for p in t.places if p.span.error})
    for place in _called(scene):
        count = failed[place.span.operation]
        if place.span.error and count <= RARE * len(scene.healthy):
            yield _failed(scene, place, " of the service", count)


def _failed(scene: Scene, place: Place, whose: str, healthy: int) -> _Seen:
    """An error is known when the span ends; that one does not end, when everything else has."""
    end = place.span.end
    if end is None:
        return _at(place, _last(scene), f"never ends here, and does in healthy requests{whose}", healthy, "unfinished")
    return _at(place, end, f"fails here and not in healthy requests{whose}", healthy, "failed")


def _last(scene: Scene) -> int:
    places = scene.representative.places
    seen = [one.time for place in places for one in scene.kernel.get(place.span.id, ())]
    return max((*(p.span.end or p.span.start for p in places), *seen), default=0)


def _longest(scene: Scene) -> dict[str, float]:
    longest: dict[str, float] = defaultdict(float)
    for tree in scene.healthy:
        for place in tree.places:
            longest[place.key] = max(longest[place.key], place.span.seconds or 0.0)
    return longest


def _slow(scene: Scene, place: Place, longest: dict[str, float]) -> Iterator[_Seen]:
    bound = _BEYOND * longest.get(place.key, float("inf")) + 0.005
    end = place.span.end if place.span.end is not None else _last(scene)
    took = (end - place.span.start) / 1e9
    if took > bound:
        detail = f"takes {took:.3f} s; the slowest healthy one took {longest[place.key]:.3f} s"
        yield _at(place, place.span.start + int(bound * 1e9), detail, 0, "slow")


def _missing(scene: Scene) -> Iterator[_Seen]:
    """What (nearly) all healthy requests call and the failing one does not: known where its parent ended."""
    present = Counter(key for t in scene.healthy for key in {p.key for p in t.places})
    mine = {p.key: p for p in scene.representative.places}
    for key, count in sorted(present.items()):
        parent = mine.get(key.rpartition(">")[0])
        if count >= (1 - RARE) * len(scene.healthy) and key not in mine and parent is not None:
            end = parent.span.end if parent.span.end is not None else parent.span.start
            name = key.rpartition(">")[2].rpartition("#")[0]
            detail = f"does not call {name}, which healthy requests do"
            yield replace(_at(parent, end, detail, len(scene.healthy) - count, "missing"), subject=name)


def _at(place: Place, time: int, detail: str, healthy: int, kind: DivergenceKind) -> _Seen:
    said = f"{place.span.service}: {place.span.name} {detail}"
    return _Seen(time, place.depth, place.span.id, said, healthy, kind, place.span.name)


def _divergence(builder: Builder, scene: Scene, seen: _Seen) -> Divergence:
    number = len(scene.healthy)
    where = "the same route" if scene.scope == "route" else "the same service: none of this route was healthy"
    return Divergence(
        node=spans.node_of(builder, scene, seen.span),
        detail=f"{seen.detail} ({seen.healthy} of {number} healthy requests of {where})",
        healthy_traces=number, share_of_healthy=round(seen.healthy / number, 6), evidence=[seen.span],
        kind=seen.kind, subject=seen.subject,
    )  # fmt: skip


def _kernel(scene: Scene, node: Node) -> Divergence:
    """The shape of a failing call, or a wait, that (nearly) no healthy request has."""
    number = node.facts.get("healthy_requests", len(scene.healthy))
    usual = f", {node.healthy_value} in healthy ones" if node.healthy_value else ""
    said = f"{node.label}: {node.value}{usual}" if usual else node.label
    seldom = round((1 - node.unusual) * number)
    return Divergence(
        node=node.id, detail=f"kernel: {node.facts['service']} {said} ({seldom} of {number} healthy requests)",
        healthy_traces=number, share_of_healthy=round(1 - node.unusual, 6), evidence=node.evidence, kind="kernel",
        subject=node.label,
    )  # fmt: skip


def _code(builder: Builder, scene: Scene) -> list[Divergence]:
    """The innermost repository frame of each stack that healthy requests never passed through."""
    number = len(scene.healthy)
    frames = [n for n in builder.nodes.values() if n.kind == "code" and n.frame and n.frame.in_repository]
    new = [n for n in frames if n.unusual >= 1 - RARE and "attribute" not in n.facts]
    return [
        Divergence(
            node=node.id, detail=f"{node.label} was not on the stack of any exception or sample of a healthy request",
            healthy_traces=number, share_of_healthy=round(1 - node.unusual, 6), evidence=node.evidence,
            kind="code", subject=node.frame.function if node.frame else "",
        )
        for node in sorted(new, key=_closeness)
    ]  # fmt: skip


def _closeness(node: Node) -> tuple[float, float, str]:
    return (node.facts.get("distance", 1e9), -node.facts.get("self_share", 0.0), node.id)


def _without_repeats(found: list[Divergence]) -> list[Divergence]:
    return list({(d.node, d.detail): d for d in found}.values())
