"""Stubs for services that are not under suspicion: each captured call is replayed, bound to its span.

A call is replayed as the *downstream* answered it, not as the caller saw it: where the caller gave up after
50 ms, the stub still answers after the 120 ms that the downstream took, so that a more patient caller gets
the answer. Where nobody saw the downstream's own end, it never answers.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from butfor.evidence import names
from butfor.evidence.plays import StubAnswer
from butfor.evidence.requests import Payload
from butfor.evidence.telemetry import Telemetry
from butfor.evidence.timelines import RequestSeen
from butfor.reproducing.carrying import HOP_BY_HOP, shown

REFUSED = ("ConnectionRefusedError", "ConnectError", "ECONNREFUSED")


class Calls:
    """The calls that were captured, found by trace; `bodies` is where stubs' bodies are copied to."""

    def __init__(self, telemetry: Telemetry, downstream: frozenset[str], bodies: Path) -> None:
        self.payloads = telemetry.bundle.path / "payloads"
        self.downstream, self.bodies = downstream, bodies
        self._only = next(iter(downstream)) if len(downstream) == 1 else ""
        self._by_trace: dict[str, list[Payload]] = {}
        for payload in telemetry.payloads:
            self._by_trace.setdefault(payload.trace_id, []).append(payload)
        columns = telemetry.spans.select(["trace_id", "span_id", "parent_span_id", "start_ns", "end_ns"]).to_pydict()
        rows = zip(*columns.values(), strict=True)
        self._spans = {(trace, span): (parent, start, end) for trace, span, parent, start, end in rows}

    def stubs(self, requests: Sequence[RequestSeen]) -> dict[str, list[StubAnswer]]:
        """Return, per downstream that was called while `requests` were served, its answers in order of calls.

        `requests` are in the order in which they will be sent. A downstream that was not called is not stubbed.
        """
        result: dict[str, list[StubAnswer]] = {}
        for request in requests:
            for call in self.of(request.span.split("/")[0]):
                name = call[0].service if call[0].role != "client" else self._only
                result.setdefault(name, []).append(self._answer(call, request))
        return result

    def of(self, trace: str) -> list[list[Payload]]:
        """Return the payloads of each call, outermost first (edge, server, client as far as captured), by time."""
        every = self._by_trace.get(trace, [])
        received = [p for p in every if p.service in self.downstream and p.role != "client"]
        edged = {p.service for p in received if p.role == "edge"}
        outer = [p for p in received if p.role == "edge" or p.service not in edged]
        calls = [[one, *self._same_call(one, every)] for one in outer]
        calls += [[one] for one in self._unreceived(every, calls)]
        return sorted(calls, key=lambda call: call[0].start_ns)

    def _unreceived(self, every: Sequence[Payload], calls: Sequence[list[Payload]]) -> list[Payload]:
        """Return calls that never arrived (refused), where only one downstream can be meant."""
        if not self._only:
            return []
        seen = {payload.span_id for call in calls for payload in call}
        unanswered = [p for p in every if p.role == "client" and p.span_id not in seen and p.status is None]
        return [p.model_copy(update={"target": _path(p.target)}) for p in unanswered]

    def _same_call(self, outer: Payload, every: Sequence[Payload]) -> list[Payload]:
        """Return what the downstream behind its edge and the caller in front of it saw of the same call."""
        caller = self._span(outer)[0]
        inner = [p for p in every if p.role == "server" and self._span(p)[0] == outer.span_id]
        return [*inner, *(p for p in every if p.role == "client" and p.span_id == caller)]

    def _span(self, payload: Payload) -> tuple[str, int, int | None]:
        """Return (parent, start, end) of a payload's span; empty where it was not captured."""
        return self._spans.get((payload.trace_id, payload.span_id), ("", 0, None))

    def _answer(self, call: Sequence[Payload], request: RequestSeen) -> StubAnswer:
        """Return what the stub does for one call, from whoever saw most of it."""
        first = call[0]
        whole = next((p for p in call if p.complete and p.ended is None and p.status is not None), None)
        source = whole or first
        headers = [(n, v) for n, v in source.answer_headers if n.lower() not in HOP_BY_HOP]
        return StubAnswer(
            span=f"{first.trace_id}/{first.span_id}", method=first.method, target=first.target,
            request_body=first.request_body, status=source.status, headers=headers,
            body=shown(self.payloads, source.answer_body, self.bodies), delay_s=self._took(call, source),
            ended=None if whole else _ended(call, request),
        )  # fmt: skip

    def _took(self, call: Sequence[Payload], source: Payload) -> float:
        """Return seconds until the answer: of the payload that has it, else of the downstream's own span."""
        if source.end_ns is not None:
            return max(0.0, (source.end_ns - source.start_ns) / 1e9)
        spans = (self._span(payload) for payload in call)
        return next((max(0, end - start) / 1e9 for _, start, end in spans if end is not None), 0.0)


def healed(broken: StubAnswer, healthy: Sequence[StubAnswer]) -> StubAnswer | None:
    """Return the call with the answer that the downstream gives in health: of the call that is most like it.

    Most alike is the same target, then the same normal form, then the longest common beginning; the method must
    be the same. None where no healthy call is known.
    """
    same = [one for one in healthy if one.method == broken.method and one.ended is None and (one.status or 500) < 500]
    best = max(same, key=lambda one: _likeness(one.target, broken.target), default=None)
    if best is None:
        return None
    kept = {"target": broken.target, "request_body": broken.request_body}
    return best.model_copy(update=kept)


def _path(url: str) -> str:
    """Return the path and query of a URL."""
    split = urlsplit(url)
    return (split.path or "/") + (f"?{split.query}" if split.query else "")


def _likeness(one: str, other: str) -> tuple[bool, bool, int]:
    shared = sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
    return (one == other, names.target(one) == names.target(other), shared)


def _ended(call: Sequence[Payload], request: RequestSeen) -> Literal["closed", "refused", "timeout"]:
    """Return how a call ended that nobody saw answered."""
    if any(p.ended == "timeout" for p in call):
        return "timeout"
    refused = any(name.endswith(REFUSED) for seen in request.exceptions for name in seen.types)
    return "refused" if refused and all(p.status is None for p in call) else "closed"
