"""Exceptions, the code they passed through, and the code that was sampled in slow requests.

A `code` node is a frame. `facts.distance` is its distance to the raising frame (0: it raised), `facts.share`
the share of samples that hold it, `facts.self_share` of those in which it was innermost.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from butfor.evidence import families
from butfor.evidence.predicates import Frame
from butfor.evidence.timelines import ExceptionSeen, RequestSeen
from butfor.graphing import spans
from butfor.graphing.builders import Builder, digest
from butfor.graphing.scenes import Scene, Span

MAX_FRAMES = 80
MAX_SAMPLED = 80
_LEAST_SHARE = 0.02


def add_exceptions(builder: Builder, scene: Scene, *, flat: bool = False) -> None:
    """Adds exceptions and their frames; `flat`: straight to the failure, for a graph without traces."""
    seen: dict[str, list[tuple[RequestSeen, ExceptionSeen]]] = defaultdict(list)
    for tree in scene.failing:
        for exception in tree.request.exceptions:
            seen[_id(exception, scene)].append((tree.request, exception))
    healthy = _healthy_share([_id(e, scene) for e in t.request.exceptions] for t in scene.healthy)
    in_healthy = _healthy_share(_places(t.request) for t in scene.healthy)
    for id_, occurrences in sorted(seen.items()):
        _add_exception(builder, scene, id_, occurrences, scene.unusual(healthy[id_], unknown=1.0))
        _link(builder, scene, id_, occurrences, flat=flat)
        _add_frames(builder, scene, id_, occurrences, in_healthy)


def add_samples(builder: Builder, scene: Scene) -> None:
    """Adds the frames of sampled stacks, most often seen first."""
    total, held, own, cited = _sampled(scene)
    in_healthy = _healthy_share(_places(t.request) for t in scene.healthy)
    sampled_healthy = sum(bool(t.request.samples) for t in scene.healthy)
    ranked = sorted(held, key=lambda f: (-own[f], -held[f], f.file, f.line, f.function))
    for frame in [f for f in ranked if held[f] >= _LEAST_SHARE * total][:MAX_SAMPLED]:
        facts = {"share": round(held[frame] / total, 4), "self_share": round(own[frame] / total, 4),
                 "samples": total, "healthy_sampled": sampled_healthy, "service": scene.predicate.service}  # fmt: skip
        node = _code(builder, scene, frame, cited[frame], in_healthy, facts)
        for span in cited[frame][:3]:
            builder.edge(node, spans.node_of(builder, scene, span), "synchronous", [span])


def add_located_spans(builder: Builder, scene: Scene) -> None:
    """Adds a code node for each kept span that says where it was started (`code.*` attributes)."""
    for place in scene.representative.places:
        frame = _located(place.span)
        if frame:
            facts = {"service": place.span.service, "attribute": True}
            node = _code(builder, scene, frame, [place.span.id], Counter(), facts, unusual=0.0)
            builder.edge(node, spans.node_of(builder, scene, place.span.id), "synchronous", [place.span.id])


def service_of(exception: ExceptionSeen, scene: Scene, default: str) -> str:
    """The service whose span the exception is bound to."""
    return scene.spans[exception.span].service if exception.span in scene.spans else default


def evidence_of(exception: ExceptionSeen, scene: Scene) -> list[str]:
    """The span event or the log record that carries it, then its span."""
    short = {kind.rpartition(".")[2] for kind in exception.types}
    logged = [f"log:{log.row}" for log in scene.logs if log.span == exception.span and _type(log.attributes) in short]
    events = scene.spans[exception.span].events if exception.span in scene.spans else []
    seen = [f"{exception.span}#{i}" for i, e in enumerate(events) if _type(dict(e["attributes"] or [])) in short]
    ordered = logged[:1] + seen[:1] if exception.source == "log" else seen[:1] + logged[:1]
    return [*ordered, exception.span]


def _type(attributes: dict[str, str]) -> str:
    """The class name of an exception event or record; no class has the name `-`."""
    return attributes.get("exception.type", "").rpartition(".")[2] or "-"


def _id(exception: ExceptionSeen, scene: Scene) -> str:
    kind = exception.types[0] if exception.types else "exception"
    frame = exception.frames[-1] if exception.frames else None
    place = f"{frame.file}:{frame.function}" if frame else ""
    service = service_of(exception, scene, scene.predicate.service)
    return f"exception:{service}:{kind}:{digest(exception.template, place)}"


def _healthy_share(requests: Iterable[Iterable[Any]]) -> Counter[Any]:
    """In how many requests each thing was seen."""
    counted: Counter[Any] = Counter()
    for things in requests:
        counted.update(set(things))
    return counted


def _places(request: RequestSeen) -> set[tuple[str, str]]:
    stacks = [*(e.frames for e in request.exceptions), *(s.frames for s in request.samples)]
    return {(frame.file, frame.function) for stack in stacks for frame in stack}


Occurrences = Sequence[tuple[RequestSeen, ExceptionSeen]]


def _add_exception(builder: Builder, scene: Scene, id_: str, occurrences: Occurrences, unusual: float) -> None:
    _, first = occurrences[0]
    family = families.family(first.types, first.message)
    builder.node(
        id_, "exception", (first.types[0] if first.types else "exception").rpartition(".")[2],
        _cited(scene, occurrences), value=first.template, unusual=unusual,
        facts={
            "types": first.types, "family": family, "source": first.source, "escaped": first.escaped,
            "service": service_of(first, scene, scene.predicate.service),
            "failing_share": round(len({r.span for r, _ in occurrences}) / len(scene.failing), 4),
        },
    )  # fmt: skip


def _cited(scene: Scene, occurrences: Occurrences) -> list[str]:
    """The representative's own first."""
    own = scene.representative.request.span
    ordered = sorted(occurrences, key=lambda o: (o[0].span != own, o[0].start_ns, o[1].span))
    return [cited for _, exception in ordered[:4] for cited in evidence_of(exception, scene)]


def _link(builder: Builder, scene: Scene, id_: str, occurrences: Occurrences, *, flat: bool) -> None:
    cited = builder.nodes[id_].evidence
    if flat:
        builder.edge(id_, spans.FAILURE, "synchronous", cited)
        return
    own = scene.representative.request.span
    targets = {spans.node_of(builder, scene, e.span) for r, e in occurrences if r.span == own}
    for target in sorted(targets or {spans.request_id(scene)}):
        builder.edge(id_, target, "synchronous", cited)


def _add_frames(builder: Builder, scene: Scene, id_: str, occurrences: Occurrences, healthy: Counter[Any]) -> None:
    cited = builder.nodes[id_].evidence
    _, first = occurrences[0]
    service = service_of(first, scene, scene.predicate.service)
    for distance, frame in enumerate(reversed(first.frames[-MAX_FRAMES:])):
        facts = {"distance": distance, "service": service, "exception": id_}
        builder.edge(_code(builder, scene, frame, cited, healthy, facts), id_, "synchronous", cited)


def _code(
    builder: Builder, scene: Scene, frame: Frame, cited: Sequence[str], healthy: Counter[Any],
    facts: dict[str, Any], unusual: float | None = None,
) -> str:  # fmt: skip
    id_ = f"code:{frame.file}:{frame.line}:{frame.function}"
    before = builder.nodes.get(id_)
    if before:  # the same frame on another stack: keep the closer distance, add what is new
        facts = facts | before.facts | _closer(before.facts, facts)
    share = scene.unusual(healthy[frame.file, frame.function], unknown=1.0) if unusual is None else unusual
    builder.node(id_, "code", f"{frame.function} ({frame.file}:{frame.line})", cited, frame=frame, unusual=share)
    builder.nodes[id_] = builder.nodes[id_].model_copy(update={"facts": facts})
    return id_


def _closer(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    distances = [f["distance"] for f in (before, after) if "distance" in f]
    return {"distance": min(distances)} if distances else {}


def _sampled(scene: Scene) -> tuple[int, Counter[Frame], Counter[Frame], dict[Frame, list[str]]]:
    """Number of samples, samples per frame, samples with the frame innermost, spans per frame."""
    total, held, own = 0, Counter[Frame](), Counter[Frame]()
    cited: dict[Frame, list[str]] = defaultdict(list)
    trees = sorted(scene.failing, key=lambda t: t.request.span != scene.representative.request.span)
    for sample in (s for tree in trees for s in tree.request.samples if s.frames and s.count > 0):
        total += sample.count
        own[sample.frames[-1]] += sample.count
        for frame in set(sample.frames):
            held[frame] += sample.count
            if sample.span not in cited[frame]:
                cited[frame].append(sample.span)
    return total, held, own, cited


def _located(span: Span) -> Frame | None:
    at = span.attributes
    file = at.get("code.file.path") or at.get("code.filepath")
    function = at.get("code.function.name") or at.get("code.function")
    line = at.get("code.line.number") or at.get("code.lineno") or "0"
    if not file or not function:
        return None
    ours = not file.startswith("/") and "site-packages" not in file
    number = int(line) if line.isascii() and line.isdigit() and len(line) < 8 else 0
    return Frame(file=file, line=number, function=function, in_repository=ours)
