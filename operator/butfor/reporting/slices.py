"""The slice as rows of nodes: from what could be changed to the failure."""

from __future__ import annotations

from dataclasses import dataclass

from butfor.evidence.graphs import CausalGraph, Node, Slice

MAX_PATHS = 6
MAX_NODES = 12


@dataclass(frozen=True)
class Step:
    """A node of a path; `edge` is how it leads to the next, empty for the last."""

    kind: str
    label: str
    exogenous: bool
    unusual: float
    edge: str


@dataclass(frozen=True)
class Path:
    """One path to the failure; `cut` counts nodes left out of its middle."""

    steps: list[Step]
    cut: int


def drawing(graph: CausalGraph, cut: Slice) -> list[Path]:
    """Return the paths of the slice. Values of nodes are left out: they may be a customer's."""
    nodes = {node.id: node for node in graph.nodes}
    edges = {(edge.source, edge.target): edge.kind.replace("_", " ") for edge in graph.edges}
    return [_path(path, nodes, edges) for path in cut.paths[:MAX_PATHS]]


def _path(path: list[str], nodes: dict[str, Node], edges: dict[tuple[str, str], str]) -> Path:
    kept = path if len(path) <= MAX_NODES else [*path[: MAX_NODES // 2], *path[-MAX_NODES // 2 :]]
    after = [*kept[1:], ""]
    steps = [_step(one, nodes, edges.get((one, then), "")) for one, then in zip(kept, after, strict=True)]
    return Path(steps, len(path) - len(kept))


def _step(name: str, nodes: dict[str, Node], edge: str) -> Step:
    node = nodes.get(name)
    if node is None:
        return Step(name.partition(":")[0], name, exogenous=False, unusual=0.0, edge=edge)
    return Step(node.kind, node.label, node.exogenous, node.unusual, edge)
