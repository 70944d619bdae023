"""Outgoing calls of a request: who was asked, what came back, and who gave up first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from butfor.evidence import families
from butfor.evidence.requests import Payload
from butfor.graphing.scenes import Scene, Span, Tree, status_of

_EMBEDDED = frozenset({"sqlite", "duckdb", "h2", "h2database", "hsqldb", "derby"})
_ANSWERED = re.compile(r"[1-5]\d\d|ok")


@dataclass(frozen=True)
class Call:
    """One outgoing call; `server` is the span that answered it.

    `outcome` is a status (`200`, `503`), `ok` for what has none, or how it ended: `timeout`, `refused`, `reset`,
    `closed`, `name`, `tls`, `error`.
    """

    span: Span
    peer: str
    operation: str
    outcome: str
    payload: int | None
    server: Span | None

    @property
    def key(self) -> str:
        """Equal for calls to the same operation of the same peer by the same service."""
        return f"{self.span.service}>{self.peer}/{self.operation}"

    @property
    def well(self) -> bool:
        """Answered, and not with a server error."""
        return bool(_ANSWERED.fullmatch(self.outcome)) and not self.outcome.startswith("5")

    @property
    def cited(self) -> list[str]:
        """Evidence: the span, the payload, the span of who answered."""
        payload = [] if self.payload is None else [f"payload:{self.payload}"]
        return [self.span.id, *payload, *([self.server.id] if self.server else [])]


def of_tree(tree: Tree, scene: Scene, payloads: dict[str, int]) -> list[Call]:
    """The calls of a request, by time of the spans; `payloads` maps span ids to client payloads."""
    below: dict[str, Span] = {}
    for place in tree.places:
        if place.span.kind == "SERVER":
            below.setdefault(place.span.parent, place.span)
    clients = [p.span for p in tree.places[1:] if p.span.kind in {"CLIENT", "PRODUCER"} and not _embedded(p.span)]
    raised = {e.span: families.family(e.types, e.message) for e in tree.request.exceptions}
    return [
        _call(span, _server(span, below), payloads.get(span.id), raised.get(span.id, ""), scene) for span in clients
    ]


def _server(span: Span, below: dict[str, Span]) -> Span | None:
    """Who answered a call: within a recording proxy the service itself, which may go on after its caller left."""
    server = below.get(span.id)
    inner = below.get(server.id) if server is not None and server.attributes.get("butfor.edge") == "true" else None
    return inner if inner is not None and server is not None and inner.service == server.service else server


def _embedded(span: Span) -> bool:
    """A database that runs within the service is no one else's answer: its failures are the service's own."""
    at = span.attributes
    return (at.get("db.system.name") or at.get("db.system") or "") in _EMBEDDED


def client_payloads(payloads: Sequence[Payload]) -> dict[str, int]:
    """Per span id the (first) payload that its service sent as a client."""
    found: dict[str, int] = {}
    for index, payload in enumerate(payloads):
        if payload.role == "client":
            found.setdefault(f"{payload.trace_id}/{payload.span_id}", index)
    return found


def outcome_of(span: Span, payload: Payload | None, family: str) -> str:
    """How a call ended, from the payload, the exception on the span, its status and its attributes."""
    if payload is not None and payload.ended:
        return {"no answer": "closed"}.get(payload.ended, payload.ended)
    ended = _of_family(family or _family_of(span))
    if ended:
        return ended
    status = (payload.status if payload is not None else None) or status_of(span.attributes)
    if status:
        return str(status)  # it was answered, whatever its caller then made of that
    return "error" if span.error or family else "ok"


def usual(calls: Sequence[Call]) -> str | None:
    """The most common outcome."""
    counted = Counter(call.outcome for call in calls)
    return min(counted, key=lambda outcome: (-counted[outcome], outcome), default=None)


def _call(span: Span, server: Span | None, payload: int | None, family: str, scene: Scene) -> Call:
    message = None if payload is None else scene.timelines.telemetry.payloads[payload]
    return Call(span, _peer(span, server, message), span.operation.partition("/")[2], outcome_of(span, message, family),
                payload, server)  # fmt: skip


def _peer(span: Span, server: Span | None, payload: Payload | None) -> str:
    if server is not None and server.service:
        return server.service
    at = span.attributes
    host = at.get("server.address") or at.get("net.peer.name") or at.get("peer.service")
    port = at.get("server.port") or at.get("net.peer.port")
    stated = payload.peer if payload is not None and payload.peer else None
    system = at.get("db.system.name") or at.get("db.system") or at.get("messaging.system") or at.get("rpc.system")
    address = f"{host}:{port}" if host and port else host
    return stated or address or system or _host(at.get("url.full") or at.get("http.url") or "") or "unknown peer"


def _host(url: str) -> str:
    return url.partition("://")[2].partition("/")[0].rpartition("@")[2][:100]


def _family_of(span: Span) -> str:
    """From the span's exception events, else from `error.type`."""
    for event in span.events:
        at = dict(event["attributes"] or [])
        if event["name"] == "exception" and at.get("exception.type"):
            return families.family([at["exception.type"]], at.get("exception.message", ""))
    kind = span.attributes.get("error.type", "")
    return families.family([kind]) if kind and not kind.isdigit() else ""


def _of_family(family: str) -> str | None:
    """The outcome that an exception at the calling side stands for; None: it does not say how the call ended."""
    if families.is_a(family, "timeout"):
        return "timeout"
    if families.is_a(family, "connection"):
        detail = family.partition(".")[2]
        return {"broken_pipe": "reset", "unreachable": "refused"}.get(detail, detail) or "refused"
    return None
