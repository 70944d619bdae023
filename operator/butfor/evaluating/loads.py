"""From an incident's load to the requests that a play sends."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from butfor.errors import UserError
from butfor.evidence.incidents import Incident
from butfor.evidence.plays import PlannedRequest
from butfor.evidence.requests import Request
from butfor.evidence.runs import Role

DEFAULT_TIMEOUT_S = 10.0
MAXIMUM_BODY = 256 * 1024 * 1024


def planned_load(incident: Incident, folder: Path) -> list[PlannedRequest]:
    """Every request of the load, bodies written to `folder`."""
    load = incident.load
    roles: list[tuple[Role, list[Request]]] = [
        ("before", load.before),
        ("healthy", load.healthy),
        ("failing", load.failing),
    ]
    return [request for role, group in roles for request in planned(group, role, incident, folder)]


def planned(requests: Iterable[Request], role: Role, incident: Incident, folder: Path) -> list[PlannedRequest]:
    """Requests of one role; a request without a service goes to the first service under suspicion, else the first."""
    return [
        _planned(request, f"{role}-{i}", role, _target(request, incident), folder) for i, request in enumerate(requests)
    ]


def _target(request: Request, incident: Incident) -> str:
    names = [service.name for service in incident.services]
    if request.service is not None and request.service not in names:
        raise UserError(
            f"request {request.method} {request.path} names service {request.service!r}, which is not in services"
        )
    suspected = [service.name for service in incident.services if service.good and service.bad]
    return request.service or (suspected or names)[0]


def _planned(request: Request, name: str, role: Role, service: str, folder: Path) -> PlannedRequest:
    body = body_bytes(request)
    if body and request.headers.get("Transfer-Encoding", "").lower() == "chunked":
        body = unchunked(body)
    path = None
    if body is not None:
        path = folder / f"{name}.body"
        path.write_bytes(body)
    return PlannedRequest(
        id=name, role=role, service=service, method=request.method, target=request.path,
        headers=list(request.headers.items()), body=path, timeout_s=request.timeout or DEFAULT_TIMEOUT_S,
        save=request.save, repeat=request.repeat,
    )  # fmt: skip


def body_bytes(request: Request) -> bytes | None:
    """The body as sent: JSON for anything that is not text, marks filled."""
    if request.body is None:
        return None
    if isinstance(request.body, bytes):
        return request.body
    text = _text(request.body)
    size = len(text) + sum(len(fill.text) * fill.times for fill in request.body_fill.values())
    if size > MAXIMUM_BODY:
        raise UserError(
            f"the body of {request.method} {request.path} would be {size} bytes; at most {MAXIMUM_BODY} are sent"
        )
    for mark, fill in request.body_fill.items():
        text = text.replace(mark, fill.text * fill.times)
    return text.encode()


def unchunked(body: bytes) -> bytes:
    """The content of a body that is written in chunks, since who sends it makes chunks of its own; else the body."""
    content, rest = b"", body
    while True:
        head, found, rest = rest.partition(b"\r\n")
        if not found or not re.fullmatch(rb"[0-9A-Fa-f]{1,8}", head):
            return body
        size = int(head, 16)
        if size == 0:
            return content
        if rest[size : size + 2] != b"\r\n":
            return body
        content, rest = content + rest[:size], rest[size + 2 :]


def _text(body: Any) -> str:
    return body if isinstance(body, str) else json.dumps(body)
