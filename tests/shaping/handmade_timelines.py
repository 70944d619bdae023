"""Timelines built by hand: a small notation for spans, requests, exceptions and payloads."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from butfor.evidence.bundles import Bundle
from butfor.evidence.predicates import FailurePredicate, Frame
from butfor.evidence.requests import Payload
from butfor.evidence.telemetry import LOGS, SPANS, Telemetry
from butfor.evidence.timelines import ExceptionSeen, RequestSeen, StackSample, Timelines

MS = 1_000_000


def trace(number: int) -> str:
    return f"{number:032x}"


def span_id(number: int) -> str:
    return f"{number:016x}"


def frame(file: str, line: int, function: str, *, own: bool = True) -> Frame:
    return Frame(file=file, line=line, function=function, in_repository=own)


@dataclass
class Story:
    """Collects rows; `timelines()` makes the Timelines."""

    bundle: Path = Path("bundle")
    spans: list[dict[str, Any]] = field(default_factory=list)
    logs: list[dict[str, Any]] = field(default_factory=list)
    payloads: list[Payload] = field(default_factory=list)
    requests: list[RequestSeen] = field(default_factory=list)
    predicate: FailurePredicate | None = None

    def span(self, trace_no: int, span_no: int, parent: int = 0, name: str = "work", *, kind: str = "INTERNAL",
             service: str = "shop", start: float = 0.0, ms: float | None = 10.0, status: str = "UNSET",
             events: list[dict[str, Any]] | None = None, resource: dict[str, str] | None = None,
             **attributes: str) -> str:  # fmt: skip
        start_ns = int(start * MS)
        row = {
            "trace_id": trace(trace_no), "span_id": span_id(span_no),
            "parent_span_id": span_id(parent) if parent else "",
            "name": name, "kind": kind, "service": service, "scope": "", "start_ns": start_ns,
            "end_ns": None if ms is None else start_ns + int(ms * MS), "status": status, "status_message": "",
            "attributes": list({k.replace("__", "."): v for k, v in attributes.items()}.items()),
            "resource": list((resource or {}).items()), "events": events or [], "links": [],
        }  # fmt: skip
        self.spans.append(row)
        return f"{row['trace_id']}/{row['span_id']}"

    def log(self, span: str, body: str, *, severity: str = "ERROR", service: str = "shop", time: float = 0.0,
            **attributes: str) -> int:  # fmt: skip
        trace_id, _, span_ = span.partition("/")
        self.logs.append({
            "time_ns": int(time * MS), "trace_id": trace_id, "span_id": span_, "severity": severity, "service": service,
            "body": body, "attributes": list({k.replace("__", "."): v for k, v in attributes.items()}.items()),
            "resource": [],
        })  # fmt: skip
        return len(self.logs) - 1

    def payload(self, span: str, *, role: str = "server", service: str = "shop", method: str = "GET",
                target: str = "/", **more: Any) -> int:  # fmt: skip
        trace_id, _, span_ = span.partition("/")
        more = {"start_ns": 0, "end_ns": MS, "status": 200} | more
        self.payloads.append(Payload(
            trace_id=trace_id, span_id=span_, role=role, service=service, method=method, target=target, **more
        ))  # fmt: skip
        return len(self.payloads) - 1

    def body(self, value: Any) -> dict[str, Any]:
        """Writes a JSON body into the bundle; the keyword arguments for a payload's request."""
        raw = json.dumps(value).encode()
        return {"request_body": self.stored(raw), "request_bytes": len(raw),
                "request_headers": [("content-type", "application/json")]}  # fmt: skip

    def answer(self, value: Any) -> dict[str, Any]:
        raw = json.dumps(value).encode()
        return {"answer_body": self.stored(raw), "answer_bytes": len(raw),
                "answer_headers": [("content-type", "application/json")]}  # fmt: skip

    def stored(self, raw: bytes) -> str:
        import hashlib

        digest = hashlib.sha256(raw).hexdigest()
        (self.bundle / "payloads").mkdir(parents=True, exist_ok=True)
        (self.bundle / "payloads" / digest).write_bytes(raw)
        return digest

    def request(self, span: str, *, failed: bool = False, service: str = "shop", method: str = "GET",
                route: str = "/buy", target: str | None = None, status: int | None = None, ended: Any = None,
                ms: float = 10.0, start: float = 0.0, exceptions: list[ExceptionSeen] | None = None,
                samples: list[StackSample] | None = None, payload: int | None = None) -> RequestSeen:  # fmt: skip
        seen = RequestSeen(
            span=span, service=service, method=method, route=route, target=target or route,
            status=status if status or ended else (500 if failed else 200), ended=ended, duration_s=ms / 1000,
            start_ns=int(start * MS), failed=failed, exceptions=exceptions or [], samples=samples or [],
            payload=payload,
        )  # fmt: skip
        self.requests.append(seen)
        return seen

    def timelines(self) -> Timelines:
        telemetry = Telemetry(
            bundle=Bundle(path=self.bundle, manifest=None), spans=pa.Table.from_pylist(self.spans, schema=SPANS),
            logs=pa.Table.from_pylist(self.logs, schema=LOGS), payloads=self.payloads,
        )  # fmt: skip
        failing = [i for i, r in enumerate(self.requests) if r.failed]
        first = self.requests[failing[0]] if failing else None
        predicate = self.predicate or (first and FailurePredicate(
            service=first.service, method=first.method, route=first.route, status=first.status, ended=first.ended,
            exception_types=first.exceptions[0].types if first.exceptions else [],
        ))  # fmt: skip
        return Timelines(
            telemetry=telemetry, spans=telemetry.spans, segments=pa.table({}), requests=self.requests,
            predicate=predicate, failing=failing, healthy=[i for i, r in enumerate(self.requests) if not r.failed],
        )  # fmt: skip


def raised(span: str, *types: str, message: str = "", frames: list[Frame] | None = None,
           source: str = "span_event") -> ExceptionSeen:  # fmt: skip
    return ExceptionSeen(
        span=span, types=list(types), message=message, template=message, frames=frames or [], source=source
    )


def exception_event(kind: str, message: str = "", time: float = 1.0) -> dict[str, Any]:
    return {"time_ns": int(time * MS), "name": "exception",
            "attributes": [("exception.type", kind), ("exception.message", message)]}  # fmt: skip
