"""The shape of what was seen: operations, calls, stacks, critical path; bounded and canonical."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable

import numpy as np

from butfor.evidence import families
from butfor.evidence.graphs import Shape, ShapedEdge, ShapedNode
from butfor.evidence.timelines import RequestSeen, Timelines
from butfor.shaping import caps, criticals, durations, operations, patterns, stacks
from butfor.shaping.operations import Bools, Ints, Spans

_CITED = 5


def shape(timelines: Timelines) -> Shape:
    """The same shape for the same spans and requests, in whatever order they come.

    `critical_s` is the mean time on the critical path per failing request (per request where none failed).
    """
    spans = operations.read(timelines.spans)
    children = criticals.children_of(spans)
    explained = _rows(spans, _failing(timelines) or timelines.requests)
    critical = criticals.self_times(explained, spans, children)
    on_path = _failure_path(spans, _failing(timelines), critical, children)
    nodes, dropped_nodes = caps.cap_nodes(_nodes(spans, timelines, critical, len(explained), on_path))
    edges, dropped_edges = caps.cap_edges(_edges(spans, on_path), nodes)
    return Shape(
        nodes=nodes, edges=edges, folded_stacks=stacks.fold(timelines.requests),
        dropped_nodes=dropped_nodes, dropped_edges=dropped_edges,
    )  # fmt: skip


def canonical_bytes(shape_: Shape) -> bytes:
    """Canonical JSON: sorted keys, no spaces, UTF-8; equal shapes are equal bytes."""
    text = json.dumps(shape_.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode()


def _failing(timelines: Timelines) -> list[RequestSeen]:
    return [timelines.requests[index] for index in timelines.failing]


def _rows(spans: Spans, requests: Iterable[RequestSeen]) -> list[int]:
    return sorted({spans.rows[r.span] for r in requests if r.span in spans.rows})


def _failure_path(spans: Spans, failing: list[RequestSeen], critical: Ints, children: list[list[int]]) -> Bools:
    """Rows from failing requests to where they failed: erroneous spans below them, and all above those.

    Where nothing below is erroneous (a slow or broken off answer), the critical path is the failure path.
    """
    roots = _rows(spans, failing)
    inside = _below(roots, children)
    marked = np.zeros(len(spans.ids), dtype=bool)
    marked[_rows_of_exceptions(spans, failing)] = True
    marked = (marked | spans.error) & inside
    without_roots = marked.copy()
    without_roots[roots] = False
    seeds = marked if without_roots.any() else marked | ((critical > 0) & inside)
    seeds[roots] = True
    return _above(spans, seeds) & inside


def _rows_of_exceptions(spans: Spans, failing: list[RequestSeen]) -> list[int]:
    return sorted({spans.rows[e.span] for r in failing for e in r.exceptions if e.span in spans.rows})


def _below(roots: list[int], children: list[list[int]]) -> Bools:
    inside = np.zeros(len(children), dtype=bool)
    work = list(roots)
    while work:
        row = work.pop()
        if not inside[row]:
            inside[row] = True
            work.extend(children[row])
    return inside


def _above(spans: Spans, seeds: Bools) -> Bools:
    marked = seeds.copy()
    level = np.flatnonzero(seeds)
    while len(level):
        up = np.unique(spans.parent[level])
        level = up[(up >= 0)]
        level = level[~marked[level]]
        marked[level] = True
    return marked


def _nodes(spans: Spans, timelines: Timelines, critical: Ints, requests: int, on_path: Bools) -> list[ShapedNode]:
    family = _families(spans, timelines.requests)
    order = np.argsort(spans.operation, kind="stable")
    cuts = np.searchsorted(spans.operation[order], np.arange(len(spans.operations) + 1))
    nodes = []
    for index, operation in enumerate(spans.operations):
        rows = order[cuts[index] : cuts[index + 1]]
        done = rows[spans.finished[rows]]
        nodes.append(ShapedNode(
            id=operation.id, service=operation.service, name=operation.name, kind=operation.kind, count=len(rows),
            errors=int(spans.error[rows].sum()),
            duration_buckets=durations.buckets(spans.end[done] - spans.start[done]),
            exception_family=family.get(index), on_failure_path=bool(on_path[rows].any()),
            critical_s=round(int(critical[rows].sum()) / 1e9 / max(requests, 1), 9),
            evidence=_cite(spans, rows, on_path),
        ))  # fmt: skip
    return nodes


def _families(spans: Spans, requests: Iterable[RequestSeen]) -> dict[int, str]:
    """The most common exception family per operation, from span events and from what correlate bound to spans."""
    per_row = dict(spans.family)
    for request in requests:
        for seen in request.exceptions:
            if seen.span in spans.rows and seen.types:  # the whole chain is known here: better than the event's type
                per_row[spans.rows[seen.span]] = families.family(seen.types, seen.message)
    counted: dict[int, Counter[str]] = defaultdict(Counter)
    for row, family in per_row.items():
        counted[int(spans.operation[row])][family] += 1
    return {index: found for index, c in counted.items() if (found := operations.most_common(c))}


def _edges(spans: Spans, on_path: Bools) -> list[ShapedEdge]:
    return [
        ShapedEdge(
            source=spans.operations[source].id, target=spans.operations[target].id, count=call.count,
            pattern=call.pattern, evidence=_cite(spans, np.array(sorted(call.rows)), on_path),
        )
        for (source, target), call in patterns.calls(spans).items()
    ]  # fmt: skip


def _cite(spans: Spans, rows: Ints, on_path: Bools) -> list[str]:
    ranked = rows[np.lexsort((rows, ~on_path[rows]))][:_CITED]
    return [spans.ids[row] for row in ranked]
