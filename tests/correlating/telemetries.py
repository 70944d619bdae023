"""Telemetry built by hand: spans in a compact form, in any order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa

from butfor.evidence.bundles import Bundle, CapturedService, Manifest
from butfor.evidence.requests import Payload
from butfor.evidence.telemetry import LOGS, SPANS, Telemetry

ROOT = "/srv/shop/worktree"
MS = 1_000_000
BASE = 1_700_000_000_000 * MS


def hexed(name: str, digits: int) -> str:
    return name.encode().hex().ljust(digits, "0")[:digits]


def span(trace: str, name: str, start: float, end: float | None, parent: str = "", **more: Any) -> dict[str, Any]:
    """A span from `start` to `end` ms; `name` is also its id."""
    attributes = {k.replace("__", "."): str(v) for k, v in more.pop("attributes", {}).items()}
    row = {
        "trace_id": hexed(trace, 32), "span_id": hexed(name, 16), "parent_span_id": hexed(parent, 16) if parent else "",
        "name": name, "kind": "INTERNAL", "service": "shop", "scope": "", "start_ns": BASE + int(start * MS),
        "end_ns": None if end is None else BASE + int(end * MS), "status": "UNSET", "status_message": "",
        "attributes": list(attributes.items()), "resource": [("service.name", more.get("service", "shop"))],
        "events": [], "links": [],
    }  # fmt: skip
    return row | more


def server(trace: str, start: float, end: float | None, status: int | None = 200, **more: Any) -> dict[str, Any]:
    """A server span `s` (or `name=`) of `GET /cart`."""
    attributes = {"http.request.method": "GET", "url.path": more.pop("path", "/cart")}
    if route := more.pop("route", None):
        attributes["http.route"] = route
    if status is not None:
        attributes["http.response.status_code"] = status
    attributes |= more.pop("attributes", {})
    error = {"status": "ERROR"} if status is not None and status >= 500 else {}
    return span(trace, more.pop("name", "s"), start, end, kind="SERVER", attributes=attributes, **(error | more))


def raised(kind: str, message: str, frames: list[tuple[str, int, str]], at: float = 1, **more: str) -> dict[str, Any]:
    attributes = {
        "exception.type": kind, "exception.message": message,
        "butfor.exception.frames": json.dumps(frames), "butfor.exception.types": json.dumps([kind]),
    } | {k.replace("__", "."): v for k, v in more.items()}  # fmt: skip
    return {"time_ns": BASE + int(at * MS), "name": "exception", "attributes": list(attributes.items())}


def log(trace: str, name: str, at: float, attributes: dict[str, str]) -> dict[str, Any]:
    return {
        "time_ns": BASE + int(at * MS), "trace_id": hexed(trace, 32), "span_id": hexed(name, 16), "severity": "ERROR",
        "service": "shop", "body": "failed", "attributes": list(attributes.items()), "resource": [],
    }  # fmt: skip


def payload(trace: str, start: float, end: float | None, name: str = "s", **more: Any) -> Payload:
    fields = {
        "trace_id": hexed(trace, 32), "span_id": hexed(name, 16), "role": "edge", "service": "shop", "method": "GET",
        "target": "/cart", "status": 200, "start_ns": BASE + int(start * MS),
        "end_ns": None if end is None else BASE + int(end * MS),
    }  # fmt: skip
    return Payload(**(fields | more))


def telemetry(
    spans: list[dict[str, Any]], logs: list[dict[str, Any]] | None = None, payloads: list[Payload] | None = None
) -> Telemetry:
    services = [CapturedService(name="shop", source_roots=[ROOT])]
    bundle = Bundle(path=Path("/nowhere"), manifest=Manifest(start_ns=0, end_ns=1, services=services))
    return Telemetry(bundle, pa.Table.from_pylist(spans, SPANS), pa.Table.from_pylist(logs or [], LOGS), payloads or [])
