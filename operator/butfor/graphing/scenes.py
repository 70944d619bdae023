"""What a graph is drawn of: the failing requests, the healthy ones they are compared with, and their spans.

Populations are bounded by even choice over time, so that the same input gives the same scene in any row order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from butfor.evidence import names
from butfor.evidence.happenings import Happening, happenings
from butfor.evidence.predicates import FailurePredicate
from butfor.evidence.telemetry import EVIDENCE
from butfor.evidence.timelines import RequestSeen, Timelines

MAX_FAILING = 50
MAX_HEALTHY = 500
MAX_TREE = 2000
_ORDINALS = 3
_ROOT = "request"
_SERVER = "server"
_COLUMNS = (
    "trace_id", "span_id", "parent_span_id", "name", "kind", "service", "start_ns", "end_ns", "status",
    "attributes", "resource", "events",
)  # fmt: skip


@dataclass(frozen=True)
class Span:
    """One span. `end` is None where it never ended; `operation` is the shaped node's id."""

    id: str
    parent: str
    kind: str
    service: str
    name: str
    operation: str
    start: int
    end: int | None
    error: bool
    attributes: dict[str, str]
    resource: dict[str, str]
    events: list[dict[str, Any]]
    evidence: bool = False
    """It is none, but what capture tells of its parent."""

    @property
    def seconds(self) -> float | None:
        """How long it took; None where it never ended."""
        return None if self.end is None else max(self.end - self.start, 0) / 1e9


@dataclass(frozen=True)
class Log:
    """A log record of one of the traces; `row` is its row in `Telemetry.logs`."""

    row: int
    span: str
    severity: str
    service: str
    body: str
    attributes: dict[str, str]


@dataclass(frozen=True)
class Place:
    """A span in a tree: `key` names its place by the operations above it and its turn among equal siblings."""

    span: Span
    key: str
    depth: int


@dataclass(frozen=True)
class Tree:
    """A request and the spans below it, parents first and siblings by time; `places[0]` is the request itself."""

    request: RequestSeen
    places: list[Place] = field(default_factory=list)

    def of_service(self, service: str) -> list[Span]:
        """Spans of one service, outermost first."""
        return [place.span for place in self.places if place.span.service == service]


@dataclass(frozen=True)
class Scene:
    """Failing and healthy trees; `representative` is a failing one that looks like most others.

    `scope` says how close the healthy ones are: `route` or `service` (or `nothing` where there are none).
    """

    timelines: Timelines
    predicate: FailurePredicate
    representative: Tree
    failing: list[Tree]
    healthy: list[Tree]
    scope: str
    spans: dict[str, Span]
    logs: list[Log]
    kernel: dict[str, list[Happening]] = field(default_factory=dict)
    """Per span what the kernel saw in it; `kernel_range` is from when to when it was watched."""
    kernel_range: tuple[int, int] = (0, 0)

    @property
    def private(self) -> bool:
        """Whether the capture holds raw values, which no report may show."""
        manifest = self.timelines.telemetry.bundle.manifest
        return manifest is not None and manifest.privacy == "local"

    def unusual(self, healthy_matches: int, *, unknown: float) -> float:
        """Share of healthy requests that do not match; `unknown` where there is nothing to compare with."""
        return round(1 - healthy_matches / len(self.healthy), 6) if self.healthy else unknown


def scene(timelines: Timelines, predicate: FailurePredicate) -> Scene:
    """Raises nothing; `timelines.failing` must not be empty."""
    failing = _spread(_picked(timelines, timelines.failing), MAX_FAILING)
    scope, healthy = _comparable(_picked(timelines, timelines.healthy), failing[0], predicate)
    traces = {r.span.partition("/")[0] for r in (*failing, *healthy)}
    spans = _spans(timelines.spans, traces)
    children = _children(spans)
    failing_trees = [_tree(request, spans, children) for request in failing]
    watched = happenings(timelines, set(spans))
    return Scene(
        timelines=timelines, predicate=predicate, representative=_representative(failing_trees),
        failing=failing_trees, healthy=[_tree(request, spans, children) for request in healthy], scope=scope,
        spans=spans, logs=_logs(timelines.telemetry.logs, traces), kernel=watched, kernel_range=_range(timelines),
    )  # fmt: skip


def _range(timelines: Timelines) -> tuple[int, int]:
    found = pc.min_max(timelines.telemetry.kernel["time_ns"]).as_py()
    return found["min"] or 0, found["max"] or 0


def _picked(timelines: Timelines, indices: Iterable[int]) -> list[RequestSeen]:
    return sorted((timelines.requests[i] for i in indices), key=lambda r: (r.start_ns, r.span))


def _spread(requests: Sequence[RequestSeen], limit: int) -> list[RequestSeen]:
    """At most `limit`, evenly over time."""
    if len(requests) <= limit:
        return list(requests)
    return [requests[i * len(requests) // limit] for i in range(limit)]


def _comparable(
    healthy: list[RequestSeen], example: RequestSeen, predicate: FailurePredicate
) -> tuple[str, list[RequestSeen]]:
    service = predicate.service or example.service
    same_service = [r for r in healthy if r.service == service]
    same_route = [r for r in same_service if r.route == (predicate.route or example.route)]
    if same_route:
        return "route", _spread(same_route, MAX_HEALTHY)
    return ("service", _spread(same_service, MAX_HEALTHY)) if same_service else ("nothing", [])


def _spans(table: pa.Table, traces: set[str]) -> dict[str, Span]:
    wanted = table.filter(pc.is_in(table["trace_id"], pa.array(sorted(traces), pa.string()))).select(_COLUMNS)
    rows = sorted(wanted.to_pylist(), key=_row_order)
    found: dict[str, Span] = {}
    for row in rows:
        span = _span(row)
        found.setdefault(span.id, span)  # the first of duplicates: correlate reports the others
    return found


def _row_order(row: dict[str, Any]) -> tuple[Any, ...]:
    open_end = row["end_ns"] is None
    return (
        row["trace_id"] or "", row["span_id"] or "", open_end, row["start_ns"] or 0, row["end_ns"] or 0,
        row["name"] or "", row["status"] or "", row["parent_span_id"] or "",
    )  # fmt: skip


def _span(row: dict[str, Any]) -> Span:
    attributes = dict(row["attributes"] or [])
    service = row["service"] or ""
    kind, name = names.operation(
        row["kind"] or "", row["name"] or "", method=_first(attributes, "http.request.method", "http.method"),
        route=_first(attributes, "http.route"),
        target_=_first(attributes, "url.path", "http.target", "url.full", "http.url"),
        statement_=_first(attributes, "db.query.text", "db.statement", "db.query.summary"),
    )  # fmt: skip
    open_end = row["end_ns"] is None or attributes.get("butfor.unfinished") == "true"
    return Span(
        id=f"{row['trace_id']}/{row['span_id']}",
        parent=f"{row['trace_id']}/{row['parent_span_id']}" if row["parent_span_id"] else "",
        kind=row["kind"] or "", service=service, name=name, operation=f"{service}/{kind}/{name}",
        start=row["start_ns"] or 0, end=None if open_end else row["end_ns"],
        error=open_end or row["status"] == "ERROR" or status_of(attributes) >= 500,
        attributes=attributes, resource=dict(row["resource"] or []), events=row["events"] or [],
        evidence=row["name"] == EVIDENCE,
    )  # fmt: skip


def _logs(table: pa.Table, traces: set[str]) -> list[Log]:
    wanted = pc.is_in(table["trace_id"], pa.array(sorted(traces), pa.string()))
    rows = pc.indices_nonzero(wanted).to_pylist()
    records = table.take(pa.array(rows, pa.int64())).to_pylist()
    ordered = sorted(zip(rows, records, strict=True), key=lambda p: (p[1]["time_ns"] or 0, p[1]["body"] or "", p[0]))
    return [
        Log(row, f"{r['trace_id']}/{r['span_id']}", r["severity"] or "", r["service"] or "", r["body"] or "",
            dict(r["attributes"] or []))
        for row, r in ordered
    ]  # fmt: skip


def _first(attributes: dict[str, str], *keys: str) -> str:
    return next((attributes[key] for key in keys if attributes.get(key)), "")


def status_of(attributes: dict[str, str]) -> int:
    """The HTTP status that a span states; 0 where there is none."""
    text = _first(attributes, "http.response.status_code", "http.status_code")
    return int(text) if text.isascii() and text.isdigit() and len(text) == 3 else 0


def _children(spans: dict[str, Span]) -> dict[str, list[Span]]:
    children: dict[str, list[Span]] = {}
    for span in spans.values():
        children.setdefault(span.parent, []).append(span)
    for siblings in children.values():
        siblings.sort(key=lambda s: (s.start, s.id))
    return children


def _tree(request: RequestSeen, spans: dict[str, Span], children: dict[str, list[Span]]) -> Tree:
    """Breaks off at `MAX_TREE` spans; a span that is its own ancestor is visited once."""
    if request.span not in spans:
        return Tree(request)
    places: list[Place] = []
    seen = {request.span}
    work = [Place(spans[request.span], _ROOT, 0)]
    while work and len(places) < MAX_TREE:
        place = work.pop()
        places.append(place)
        below = [s for s in children.get(place.span.id, []) if s.id not in seen]
        seen.update(s.id for s in below)
        work.extend(reversed(_placed(below, place)))
    return Tree(request, places)


def _placed(siblings: list[Span], above: Place) -> list[Place]:
    turns: Counter[str] = Counter()
    places = []
    for span in siblings:
        # the request's own server span is one place whatever its target was: the route is compared elsewhere
        same = above.depth == 0 and span.kind == "SERVER" and span.service == above.span.service
        part = _SERVER if same else span.operation
        turns[part] += 1
        # many turns of a loop are one place: how often it runs is the shape's business
        key = f"{above.key}>{part}#{min(turns[part], _ORDINALS)}"
        places.append(Place(span, key, above.depth + 1))
    return places


def _representative(trees: list[Tree]) -> Tree:
    marks = [tuple((p.key, p.span.error) for p in tree.places) for tree in trees]
    counted = Counter(marks)
    best = max(counted.values())
    return next(tree for tree, mark in zip(trees, marks, strict=True) if counted[mark] == best)
