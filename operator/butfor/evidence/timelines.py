"""Timelines, findings and failures: what correlate hands on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa

from butfor.evidence._base import Frozen
from butfor.evidence.kernels import JOINED, JoinSummary
from butfor.evidence.predicates import FailurePredicate, Frame
from butfor.evidence.telemetry import Telemetry

FindingKind = Literal[
    "child_before_parent",
    "child_after_parent",
    "negative_duration",
    "duplicate_span",
    "missing_parent",
    "unfinished",
    "cycle",
    "clock_skew",
    "unknown_span",
    "stale_context",
    "uncaptured_request",
]


class Finding(Frozen):
    """An impossible or suspicious order, with its evidence; never repaired silently. Ids are `trace/span`."""

    kind: FindingKind
    evidence: list[str]
    detail: str


class ExceptionSeen(Frozen):
    """One exception bound to a span: its chain's innermost member first in `types`.

    `source` is who saw it: `span_event`, `log`, `injected` (raised in the process, swallowed by a framework),
    `uprobe` (raised in the process, seen from outside: no type, no message).
    `frames` are outermost first, as Python prints them.
    """

    span: str
    types: list[str]
    message: str
    template: str
    frames: list[Frame]
    source: str
    escaped: bool = False
    time_ns: int = 0
    """When it was seen; 0 where that is not known."""


class StackSample(Frozen):
    """A sampled stack of a slow request: frames outermost first, and how many samples folded into it."""

    span: str
    frames: list[Frame]
    count: int


class RequestSeen(Frozen):
    """One request at a service's edge. `span` is `trace/span` of its outermost server (or edge) span."""

    span: str
    service: str
    method: str
    route: str
    target: str
    status: int | None
    ended: Literal["timeout", "closed", "truncated"] | None
    duration_s: float
    start_ns: int
    failed: bool
    why: list[str] = []
    exceptions: list[ExceptionSeen] = []
    samples: list[StackSample] = []
    payload: int | None = None
    """Index into `Telemetry.payloads`; None where no payload was captured."""
    functions: list[Frame] = []
    """Functions of the repository, and of the application on it, that ran for it; [] where nobody looked.

    At their first lines, in the order in which they began.
    """


@dataclass(frozen=True)
class Timelines:
    """Spans in order with their depth and flattened segments, findings, requests, and the failure to explain.

    `segments` columns: service, thread, start_ns, end_ns, trace_id, span_id (innermost active, non-overlapping).
    `predicate` is None when nothing failed; `failing` and `healthy` index `requests`.
    """

    telemetry: Telemetry
    spans: pa.Table
    segments: pa.Table
    findings: list[Finding] = field(default_factory=list)
    requests: list[RequestSeen] = field(default_factory=list)
    predicate: FailurePredicate | None = None
    failing: list[int] = field(default_factory=list)
    healthy: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    """Why there is no predicate, or what weakens it."""
    rivals: list[int] = field(default_factory=list)
    """Requests (indices) that show the symptom as well as `failing`, but in another way or elsewhere."""
    joined: pa.Table = field(default_factory=JOINED.empty_table)
    """Which spans the kernel's events belong to (`evidence.kernels.JOINED`)."""
    join: JoinSummary = field(default_factory=JoinSummary)
