"""Which nodes of the causal graph lead to the failure, how strongly, and over which edges."""

from __future__ import annotations

from collections import deque

from butfor.evidence.graphs import CausalGraph, Edge

STEP = 0.8
"""What is left of a node's strength per edge of a certain kind; an order in time alone says less."""
WEAK_STEP = 0.6
MOST_EDGES_CITED = 4


class Reach:
    """Strength (1 at the failure, 0 where no path leads there) and the path of every node."""

    def __init__(self, graph: CausalGraph) -> None:
        self._strength: dict[str, float] = {}
        self._via: dict[str, Edge] = {}
        if graph.failure is not None:
            self._spread(graph, graph.failure)

    def _spread(self, graph: CausalGraph, failure: str) -> None:
        incoming: dict[str, list[Edge]] = {}
        for edge in graph.edges:
            incoming.setdefault(edge.target, []).append(edge)
        self._strength[failure] = 1.0
        queue = deque([failure])
        while queue:
            node = queue.popleft()
            for edge in incoming.get(node, []):
                strength = self._strength[node] * (WEAK_STEP if edge.kind == "happens_before" else STEP)
                if strength > self._strength.get(edge.source, 0.0):
                    self._strength[edge.source], self._via[edge.source] = strength, edge
                    queue.append(edge.source)

    def strength(self, node: str) -> float:
        """How strongly a node leads to the failure, 0..1."""
        return self._strength.get(node, 0.0)

    def cited(self, node: str) -> tuple[str, ...]:
        """The first edges of the path from a node to the failure, as `edge:source->target`."""
        cited: list[str] = []
        while node in self._via and len(cited) < MOST_EDGES_CITED:
            edge = self._via[node]
            cited.append(f"edge:{edge.source}->{edge.target}")
            node = edge.target
        return tuple(cited)
