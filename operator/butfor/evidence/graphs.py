"""Shape, causal graph and slice."""

from __future__ import annotations

from typing import Any, Literal

from butfor.evidence._base import Frozen
from butfor.evidence.predicates import Frame

NodeKind = Literal[
    "request",
    "span",
    "exception",
    "code",
    "call",
    "input",
    "config",
    "flag",
    "downstream",
    "resource",
    "code_change",
    "failure",
    "kernel",
    "log",
]
DivergenceKind = Literal["new", "missing", "failed", "unfinished", "slow", "code", "kernel"]
EdgeKind = Literal["happens_before", "synchronous", "resource_conflict", "data"]


class ShapedNode(Frozen):
    """A normalised operation: name with variable parts replaced, count, log-bucketed durations, family."""

    id: str
    service: str
    name: str
    kind: str
    count: int
    errors: int
    duration_buckets: dict[str, int] = {}
    exception_family: str | None = None
    on_failure_path: bool = False
    critical_s: float = 0.0
    evidence: list[str] = []


class ShapedEdge(Frozen):
    """A call between two shaped nodes."""

    source: str
    target: str
    count: int
    pattern: Literal["call", "retry", "n_plus_one"] = "call"
    evidence: list[str] = []


class Shape(Frozen):
    """At most 200 nodes and 400 edges; the failure path is always kept; same input, same bytes."""

    nodes: list[ShapedNode] = []
    edges: list[ShapedEdge] = []
    folded_stacks: dict[str, int] = {}
    dropped_nodes: int = 0
    dropped_edges: int = 0


class Node(Frozen):
    """A node of the causal graph. `exogenous` nodes are what can be intervened on."""

    id: str
    kind: NodeKind
    label: str
    exogenous: bool = False
    frame: Frame | None = None
    value: str | None = None
    healthy_value: str | None = None
    unusual: float = 0.0
    """Share of healthy traces of the same route that do NOT show this: 1.0 is never seen in healthy ones."""
    evidence: list[str] = []
    facts: dict[str, Any] = {}


class Edge(Frozen):
    """A typed cause edge; every edge cites evidence."""

    source: str
    target: str
    kind: EdgeKind
    evidence: list[str]


class Divergence(Frozen):
    """Where a failing trace first differs from the healthy population of its route.

    `subject` names the operation or code that differs; `detail` says it all in words, for people only.
    """

    node: str
    detail: str
    kind: DivergenceKind = "code"
    subject: str = ""
    healthy_traces: int
    share_of_healthy: float
    evidence: list[str] = []


class CausalGraph(Frozen):
    """The typed graph of one failure."""

    nodes: list[Node] = []
    edges: list[Edge] = []
    failure: str | None = None
    divergence: list[Divergence] = []


class Prediction(Frozen):
    """An exogenous node, the healthy value that is predicted to heal, and what a run said of it."""

    node: str
    intervention: str
    outcome: Literal["CodeChange", "ConfigChange", "Dependency", "Resource"]
    confirmed: bool | None = None
    reason: str = ""
    evidence: list[str] = []


class Slice(Frozen):
    """The smallest set of exogenous nodes on paths to the failure which differ from the healthy population."""

    nodes: list[str] = []
    paths: list[list[str]] = []
    predictions: list[Prediction] = []
