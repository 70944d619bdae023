"""The smallest set of exogenous nodes without which no differing cause reaches the failure.

Going back from the failure and stopping at exogenous nodes gives those that act on it directly. Every path from
any exogenous node to the failure runs through one of them (the last one on it), and each of them has a path on
which it is the only one: so their differing members are the unique smallest set that covers all paths.

A node differs where healthy requests do not have its value. Of an input only the trigger counts. The value of a
code change is not in the telemetry: it counts where something of its own service differs on the way.
"""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx

from butfor.evidence.graphs import CausalGraph, Edge, Node, Slice
from butfor.slicing import predictions

DIFFERS = 0.8
"""Share of healthy requests without a value from which on it counts as differing; some tolerate a failure."""
_LEAST_FAILING = 0.2
_COST = {"synchronous": 1.0, "data": 1.0, "resource_conflict": 1.0, "happens_before": 3.0}


def slice_graph(graph: CausalGraph) -> Slice:
    """The slice, one cheapest path per node (through what is unusual), one prediction per node.

    Empty where the graph has no failure or no edges. Edges without evidence do not count.
    """
    if graph.failure is None:
        return Slice()
    nodes = {node.id: node for node in sorted(graph.nodes, key=lambda n: n.id)}
    net = _net(nodes, graph.edges)
    if graph.failure not in net:
        return Slice()
    way = _ways(net, nodes, graph.failure)
    chosen = [nodes[id_] for id_ in sorted(way) if nodes[id_].exogenous and _differs(nodes[id_], net, nodes)]
    chosen.sort(key=predictions.rank)
    return Slice(
        nodes=[node.id for node in chosen], paths=[way[node.id] for node in chosen],
        predictions=[predictions.predict(node, _cited(graph.edges, way[node.id])) for node in chosen],
    )  # fmt: skip


def _net(nodes: dict[str, Node], edges: Sequence[Edge]) -> nx.DiGraph[str]:
    """Cause edges with their costs, in one order for any order of the input; none lead into exogenous nodes."""
    net: nx.DiGraph[str] = nx.DiGraph()
    net.add_nodes_from(nodes)
    for edge in sorted(edges, key=lambda e: (e.source, e.target, _COST[e.kind], e.kind)):
        known = edge.source in nodes and edge.target in nodes
        if known and edge.evidence and not nodes[edge.target].exogenous and not net.has_edge(edge.source, edge.target):
            net.add_edge(edge.source, edge.target, cost=_COST[edge.kind] + _plainness(nodes[edge.source]))
    return net


def _plainness(node: Node) -> float:
    """What is unusual is cheap to pass; of frames of one stack the one nearest to the raising frame is cheapest."""
    far = min(float(node.facts.get("distance", 0)), 50.0) / 100
    elsewhere = 1.0 - float(node.facts.get("self_share", 1.0))  # samples in which it was not innermost
    return 1.0 - node.unusual + far + elsewhere / 2


def _ways(net: nx.DiGraph[str], nodes: dict[str, Node], failure: str) -> dict[str, list[str]]:
    """Per node that reaches the failure its cheapest way there, cause first."""
    back = nx.DiGraph()
    back.add_nodes_from(net)
    back.add_edges_from((b, a, data) for a, b, data in net.edges(data=True))
    _, ways = nx.single_source_dijkstra(back, failure, weight="cost")
    return {id_: way[::-1] for id_, way in ways.items() if id_ in nodes and id_ != failure}


def _differs(node: Node, net: nx.DiGraph[str], nodes: dict[str, Node]) -> bool:
    if node.facts.get("failing_share", 1.0) < _LEAST_FAILING:
        return False
    if node.kind == "input":
        return bool(node.facts.get("trigger"))
    if node.kind == "code_change":
        return node.unusual >= DIFFERS or _own_way_differs(node, net, nodes)
    return node.unusual >= DIFFERS


def _own_way_differs(node: Node, net: nx.DiGraph[str], nodes: dict[str, Node]) -> bool:
    after = nx.descendants(net, node.id)
    mine = (nodes[id_] for id_ in after if nodes[id_].facts.get("service") == node.facts.get("service"))
    return any(n.kind != "failure" and n.unusual >= DIFFERS for n in mine)


def _cited(edges: Sequence[Edge], way: Sequence[str]) -> list[str]:
    """Evidence of the first step."""
    return sorted({cited for e in edges if e.source == way[0] and e.target == way[1] for cited in e.evidence})
