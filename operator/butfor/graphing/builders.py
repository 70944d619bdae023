"""Collects nodes and edges; drops what cites nothing that exists; gives them in one canonical order."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

import pyarrow.compute as pc

from butfor.evidence.graphs import Edge, EdgeKind, Node, NodeKind
from butfor.evidence.predicates import Frame
from butfor.evidence.timelines import Timelines

CITED = 8


class Evidence:
    """Which evidence ids exist: `trace/span`, `trace/span#event`, `payload:i`, `log:i`, `kernel:i`."""

    def __init__(self, timelines: Timelines) -> None:
        table = timelines.spans
        ids = pc.binary_join_element_wise(table["trace_id"], table["span_id"], "/").to_pylist()
        counts = pc.fill_null(pc.list_value_length(table["events"]), 0).to_pylist()
        self._events: dict[str, int] = {}
        for span, count in zip(ids, counts, strict=True):
            self._events[span] = max(count, self._events.get(span, 0))
        told = timelines.telemetry
        self._rows = {"payload": len(told.payloads), "log": told.logs.num_rows, "kernel": told.kernel.num_rows}

    def exists(self, cited: str) -> bool:
        """Whether `cited` names something that was captured."""
        kind, _, row = cited.partition(":")
        if kind in self._rows:
            return row.isdecimal() and int(row) < self._rows[kind]
        span, mark, event = cited.partition("#")
        if span not in self._events:
            return False
        return not mark or (event.isdecimal() and int(event) < self._events[span])

    def known(self, cited: Iterable[str]) -> list[str]:
        """Those that exist, each once, in the given order, at most `CITED`."""
        return [c for c in dict.fromkeys(cited) if self.exists(c)][:CITED]


class Builder:
    """A graph in the making. A node that is added twice keeps its first facts and gathers evidence."""

    def __init__(self, evidence: Evidence) -> None:
        self.evidence = evidence
        self.nodes: dict[str, Node] = {}
        self.edges: dict[tuple[str, str, EdgeKind], list[str]] = {}

    def node(
        self, id_: str, kind: NodeKind, label: str, evidence: Iterable[str], *, exogenous: bool = False,
        frame: Frame | None = None, value: str | None = None, healthy_value: str | None = None,
        unusual: float = 0.0, facts: dict[str, Any] | None = None,
    ) -> str:  # fmt: skip
        """Adds the node and returns its id."""
        before = self.nodes.get(id_)
        cited = self.evidence.known((*(before.evidence if before else ()), *evidence))
        self.nodes[id_] = (before or Node(
            id=id_, kind=kind, label=label, exogenous=exogenous, frame=frame, value=value,
            healthy_value=healthy_value, unusual=unusual, facts=facts or {},
        )).model_copy(update={"evidence": cited})  # fmt: skip
        return id_

    def edge(self, source: str, target: str, kind: EdgeKind, evidence: Iterable[str]) -> None:
        """Adds the edge, or evidence to it; without evidence that exists there is no edge."""
        cited = self.evidence.known((*self.edges.get((source, target, kind), ()), *evidence))
        if cited and source != target:
            self.edges[source, target, kind] = cited

    def finished(self) -> tuple[list[Node], list[Edge]]:
        """Nodes and edges by id; an edge to a node that was never added is dropped."""
        edges = [
            Edge(source=source, target=target, kind=kind, evidence=cited)
            for (source, target, kind), cited in sorted(self.edges.items())
            if source in self.nodes and target in self.nodes
        ]
        return [self.nodes[id_] for id_ in sorted(self.nodes)], edges


def digest(*parts: str) -> str:
    """Eight hex digits that stand for `parts` in an id."""
    return hashlib.sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()[:8]
