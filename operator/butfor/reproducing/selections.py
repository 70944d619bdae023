"""Which captured requests a reproduction sends: the failing ones, healthy ones of each shape, and state before.

Only requests that a client sent are replayed, never those that one captured service sent to another: sending
the outer one makes the inner one happen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from butfor.evidence.requests import Payload
from butfor.evidence.telemetry import Telemetry
from butfor.evidence.timelines import RequestSeen, Timelines

FAILING_LIMIT = 4
HEALTHY_LIMIT = 40
PER_SHAPE = 2
STATE_LIMIT = 200
SEQUENCE_LIMIT = 400
ASKING = frozenset({
    "accept", "accept-encoding", "accept-language", "content-type", "if-match", "if-modified-since", "if-none-match",
    "origin", "range", "x-http-method-override", "x-requested-with",
})  # fmt: skip
SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})


@dataclass(frozen=True)
class Captured:
    """One request that can be sent again. `order` is its place in the capture."""

    order: int
    seen: RequestSeen
    payload: Payload | None

    @property
    def key(self) -> tuple[object, ...]:
        """What makes two requests the same one: service, method, target, body, and headers that ask for something."""
        body = (self.payload.request_body if self.payload else None) or ""
        return (self.seen.service, self.seen.method, self.seen.target, body, tuple(self._asking()))

    @property
    def shape(self) -> tuple[object, ...]:
        """What makes two requests the same kind: service, method, route, names of query and headers, status."""
        query = self.seen.target.partition("?")[2]
        names = "&".join(sorted({part.partition("=")[0] for part in query.split("&")}))
        asking = tuple(name for name, _ in self._asking())
        return (self.seen.service, self.seen.method, self.seen.route, names, asking, self.seen.status)

    def _asking(self) -> list[tuple[str, str]]:
        """Return the headers that change what is answered, sorted."""
        headers = self.payload.request_headers if self.payload else []
        return sorted((name.lower(), value) for name, value in headers if name.lower() in ASKING)


@dataclass(frozen=True)
class Selection:
    """What may be sent, each list in the order of the capture. `state` may overlap `healthy`."""

    failing: list[Captured]
    healthy: list[Captured]
    state: list[Captured]
    sequence: list[Captured]
    concurrency: int = 1
    notes: list[str] = field(default_factory=list)


def select(timelines: Timelines, telemetry: Telemetry, service: str, played: frozenset[str]) -> Selection:
    """Choose from a capture. `service` is the one that fails, `played` are those that will really run."""
    notes: list[str] = []
    entries = _entries(timelines, telemetry, service, played, notes)
    wanted = frozenset(timelines.failing)
    failing = _steady(_distinct([one for one in entries if one.order in wanted]), entries, wanted, notes)
    last = max((one.seen.start_ns for one in failing), default=0)
    earlier = [one for one in entries if one.seen.start_ns < last and one.order not in wanted]
    healthy = _per_shape([one for one in entries if one.order in frozenset(timelines.healthy)])
    state = [one for one in earlier if builds_state(one)]
    _note_cut(notes, "failing requests", len(failing), FAILING_LIMIT)
    _note_cut(notes, "requests that build state", len(state), STATE_LIMIT)
    return Selection(
        _spread(failing)[:FAILING_LIMIT], healthy, state[-STATE_LIMIT:], earlier[-SEQUENCE_LIMIT:],
        overlap(entries), notes,
    )  # fmt: skip


def everything(timelines: Timelines, telemetry: Telemetry, service: str, played: frozenset[str]) -> list[Captured]:
    """Return all that clients sent and that can be sent again, in order, at most SEQUENCE_LIMIT requests."""
    return _entries(timelines, telemetry, service, played, [])[:SEQUENCE_LIMIT]


def builds_state(one: Captured) -> bool:
    """Tell whether a request succeeded and may have changed what later ones see: a write, or a cookie set."""
    if one.seen.failed or one.seen.status is None or one.seen.status >= 400:
        return False
    sets_cookie = one.payload is not None and any(n.lower() == "set-cookie" for n, _ in one.payload.answer_headers)
    return one.seen.method.upper() not in SAFE or sets_cookie


def overlap(entries: Sequence[Captured]) -> int:
    """Return how many requests were under way at once, at most 32."""
    edges = sorted(
        edge
        for one in entries
        for edge in ((one.seen.start_ns, 1), (one.seen.start_ns + max(1, int(one.seen.duration_s * 1e9)), -1))
    )
    now = most = 0
    for _, step in edges:
        now += step
        most = max(most, now)
    return max(1, min(most, 32))


def _entries(
    timelines: Timelines, telemetry: Telemetry, service: str, played: frozenset[str], notes: list[str]
) -> list[Captured]:
    """Return the requests that clients sent and that can be sent again, in order."""
    parents = _parents(telemetry)
    inner = {seen.span.split("/")[0] for seen in timelines.requests if seen.service == service}
    result = []
    for index, seen in enumerate(timelines.requests):
        own = seen.service == service
        outer = seen.service in played and not parents.get(seen.span) and seen.span.split("/")[0] not in inner
        if not (own or outer):
            continue
        payload = payload_of(telemetry, seen)
        why = _not_replayable(seen, payload)
        if why:
            notes.append(f"{seen.method} {seen.target[:80]} cannot be sent again: {why}")
        else:
            result.append(Captured(index, seen, payload))
    return sorted(result, key=lambda one: (one.seen.start_ns, one.order))


def _parents(telemetry: Telemetry) -> dict[str, bool]:
    """Return, per `trace/span`, whether its parent was captured too."""
    columns = telemetry.spans.select(["trace_id", "span_id", "parent_span_id"]).to_pydict()
    rows = list(zip(columns["trace_id"], columns["span_id"], columns["parent_span_id"], strict=True))
    known = {(trace, span) for trace, span, _ in rows}
    return {f"{trace}/{span}": (trace, parent) in known for trace, span, parent in rows}


def payload_of(telemetry: Telemetry, seen: RequestSeen) -> Payload | None:
    """Return the request's payload as seen furthest outside: the edge's before the server's."""
    trace = seen.span.split("/")[0]
    if seen.payload is not None and 0 <= seen.payload < len(telemetry.payloads):
        chosen = telemetry.payloads[seen.payload]
        if chosen.role == "edge":
            return chosen
    candidates = [
        one for one in telemetry.payloads
        if one.trace_id == trace and one.service == seen.service and one.role != "client"
        and one.method == seen.method and one.target == seen.target
    ]  # fmt: skip
    candidates.sort(key=lambda one: (one.role != "edge", f"{one.trace_id}/{one.span_id}" != seen.span, one.start_ns))
    if candidates:
        return candidates[0]
    return telemetry.payloads[seen.payload] if seen.payload is not None else None


def _not_replayable(seen: RequestSeen, payload: Payload | None) -> str:
    if payload is None:
        return "" if seen.method.upper() in SAFE and seen.target.startswith("/") else "its payload was not captured"
    if payload.request_truncated:
        return "its body was captured only in part"
    if any(name.lower() == "upgrade" for name, _ in payload.request_headers):
        return "it changes the protocol"
    return "" if payload.target.startswith("/") else "its target is no path"


def _distinct(captured: Sequence[Captured]) -> list[Captured]:
    return list({one.key: one for one in reversed(captured)}.values())[::-1]


def _steady(
    failing: list[Captured], entries: Sequence[Captured], wanted: frozenset[int], notes: list[str]
) -> list[Captured]:
    """Leave out requests that got through at other times, where others failed each time that they were sent.

    On a busy machine more fails than what always fails; that will not fail again when it is asked to.
    """
    through = {one.key for one in entries if one.order not in wanted and not one.seen.failed}
    steady = [one for one in failing if one.key not in through]
    if steady and len(steady) < len(failing):
        notes.append(f"{len(failing) - len(steady)} failing requests got through at other times; they are left out")
    return steady or failing


def _spread(captured: Sequence[Captured]) -> list[Captured]:
    """Order so that the first few differ most: one of each shape, quick ones first, then the rest."""
    first: dict[object, Captured] = {}
    for one in captured:
        first.setdefault((one.shape, one.seen.target.partition("?")[0].rpartition(".")[2]), one)
    chosen = list(first.values())
    return chosen + [one for one in captured if one not in chosen]


def _per_shape(captured: Sequence[Captured]) -> list[Captured]:
    """Return up to PER_SHAPE distinct requests of each shape, shapes in order of appearance, then cut evenly."""
    shapes: dict[object, list[Captured]] = {}
    for one in _distinct(captured):
        shapes.setdefault(one.shape, []).append(one)
    rounds = [one for n in range(PER_SHAPE) for group in shapes.values() for one in group[n : n + 1]]
    return sorted(rounds[:HEALTHY_LIMIT], key=lambda one: (one.seen.start_ns, one.order))


def _note_cut(notes: list[str], what: str, have: int, limit: int) -> None:
    if have > limit:
        notes.append(f"{have} distinct {what} were captured; {limit} are used")
