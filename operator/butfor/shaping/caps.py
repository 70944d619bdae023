"""At most 200 nodes and 400 edges, the failure path kept; the same ones for the same input."""

from __future__ import annotations

from collections.abc import Sequence

from butfor.evidence.graphs import ShapedEdge, ShapedNode

NODES = 200
EDGES = 400


def cap_nodes(nodes: Sequence[ShapedNode], limit: int = NODES) -> tuple[list[ShapedNode], int]:
    """The nodes to keep, by id, and how many were dropped: failure path, errors, critical time, count."""
    ranked = sorted(nodes, key=lambda n: (not n.on_failure_path, -n.errors, -n.critical_s, -n.count, n.id))
    return sorted(ranked[:limit], key=lambda n: n.id), max(len(ranked) - limit, 0)


def cap_edges(
    edges: Sequence[ShapedEdge], nodes: Sequence[ShapedNode], limit: int = EDGES
) -> tuple[list[ShapedEdge], int]:
    """The edges between kept nodes: on the failure path, then patterns, then frequent ones."""
    on_path = {node.id: node.on_failure_path for node in nodes}
    between = [e for e in edges if e.source in on_path and e.target in on_path]
    ranked = sorted(between, key=lambda e: _rank(e, on_path))
    kept = sorted(ranked[:limit], key=lambda e: (e.source, e.target))
    return kept, len(edges) - len(kept)


def _rank(edge: ShapedEdge, on_path: dict[str, bool]) -> tuple[bool, bool, int, str, str]:
    failing = on_path[edge.source] and on_path[edge.target]
    return (not failing, edge.pattern == "call", -edge.count, edge.source, edge.target)
