"""Requests at a service's edge: which spans belong to one, what was asked, answered and raised, how it ended."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from butfor.correlating.attributes import first_of
from butfor.correlating.exceptions import Occurrence, deduplicated, functions, occurrences, samples
from butfor.correlating.frames import Sources
from butfor.correlating.orders import Ordered, Rows
from butfor.evidence import names
from butfor.evidence.requests import Payload
from butfor.evidence.telemetry import Telemetry
from butfor.evidence.timelines import ExceptionSeen, RequestSeen, StackSample

T = TypeVar("T")
Ended = Literal["timeout", "closed", "truncated"]
MAX_EXCEPTIONS = 20
MAX_SAMPLES = 60
_CONSEQUENCES = frozenset({
    "BrokenPipeError", "ConnectionResetError", "ConnectionAbortedError", "ClientDisconnect", "CancelledError",
    "GeneratorExit", "ConnectionDropped", "ClientConnectionResetError",
})  # fmt: skip
"""What a server raises because its client went away."""


@dataclass(frozen=True)
class Traffic:
    """Requests in time order.

    `outer` is the request whose handling made this one, or -1; `unended` says which ended without any end being
    seen; `failed_span` which have a server span with status ERROR.
    """

    requests: list[RequestSeen]
    outer: list[int]
    unended: list[bool]
    failed_span: list[bool]


def traffic(
    telemetry: Telemetry, spans: Ordered, sources: Sources, outside: dict[int, list[Occurrence]] | None = None
) -> Traffic:
    """All requests; nothing is judged here.

    `outside`: per span row exceptions that were seen from outside; they count where a request has no others.
    """
    heads, owner = _heads(spans)
    reader = _Reader(telemetry, spans, owner, sources)
    reader.complete(outside or {}, owner)
    found = [reader.request(row) for row in heads.tolist()]
    at = {row: i for i, row in enumerate(heads.tolist())}
    outer = [at.get(int(owner[spans.parent[row]]), -1) if spans.parent[row] >= 0 else -1 for row in heads.tolist()]
    by = sorted(range(len(found)), key=lambda i: (found[i].start_ns, found[i].span))
    new = {old: position for position, old in enumerate(by)}
    return Traffic(
        [found[i] for i in by],
        [new.get(outer[i], -1) for i in by],
        [reader.unended(int(heads[i])) for i in by],
        [reader.error(int(heads[i])) for i in by],
    )


def _heads(spans: Ordered) -> tuple[Rows, Rows]:
    """Rows of outermost server spans, and for every row the head that it belongs to or -1.

    A server span directly below another one of the same service (only internal spans between them) is the same
    request: an edge and the service behind it, or two layers of instrumentation. In a trace without any server span
    (a job, a script) the roots stand for them.
    """
    table, parent = spans.table, spans.parent
    kind = np.asarray(table["kind"].to_pylist(), dtype=object)
    server = _serving(spans)
    service = np.asarray(table["service"].combine_chunks().dictionary_encode().indices, dtype=np.int64)
    between = ~server & (kind != "CLIENT") & (kind != "PRODUCER")
    above = _settled(np.where(between, parent, np.arange(len(parent))), parent)
    known = above >= 0
    inner = server & known & server[np.where(known, above, 0)] & (service[np.where(known, above, 0)] == service)
    head = server & ~inner
    owner = _fixed(np.where(head | (parent < 0), np.arange(len(parent)), parent))
    return np.flatnonzero(head), _adopted(spans, np.where(head[owner], owner, -1), head, service)


def _serving(spans: Ordered) -> npt.NDArray[np.bool_]:
    """Which rows are server spans, or stand for one."""
    kind = np.asarray(spans.table["kind"].to_pylist(), dtype=object)
    server = (kind == "SERVER") | (kind == "CONSUMER")
    served = np.zeros(int(spans.trace.max(initial=-1)) + 1, dtype=bool)
    served[spans.trace[server]] = True
    found: npt.NDArray[np.bool_] = server | ((spans.parent < 0) & ~served[spans.trace])
    return found


def _settled(step: Rows, parent: Rows) -> Rows:
    """For each row the first ancestor that steps to itself; -1 at the top."""
    far = step.copy()
    for _ in range(len(step).bit_length()):
        far = np.where(far >= 0, far[np.where(far >= 0, far, 0)], -1)
    return np.where(parent >= 0, far[np.where(parent >= 0, parent, 0)], -1)


def _fixed(step: Rows) -> Rows:
    for _ in range(len(step).bit_length()):
        step = step[step]
    return step


def _adopted(spans: Ordered, owner: Rows, head: npt.NDArray[np.bool_], service: Rows) -> Rows:
    """Rows below a lost span belong to their trace's only request of their service, if there is only one."""
    lost = np.flatnonzero(owner < 0)
    if not len(lost):
        return owner
    width = int(service.max(initial=0)) + 1
    key = spans.trace * width + service
    rows = np.flatnonzero(head)
    keys, first, count = np.unique(key[rows], return_index=True, return_counts=True)
    if not len(keys):
        return owner
    at = np.minimum(np.searchsorted(keys, key[lost]), len(keys) - 1)
    single = (keys[at] == key[lost]) & (count[at] == 1)
    owner = owner.copy()
    owner[lost[single]] = rows[first[at[single]]]
    return owner


class _Reader:
    """Columns of the server spans and what hangs below them, read once."""

    def __init__(self, telemetry: Telemetry, spans: Ordered, owner: Rows, sources: Sources) -> None:
        self.spans = spans
        self.payloads = telemetry.payloads
        self._payload_of = _payloads_by_span(telemetry.payloads)
        members = np.flatnonzero(_serving(spans) & (owner >= 0))
        self.members: defaultdict[int, list[int]] = defaultdict(list)
        for row in members.tolist():
            self.members[int(owner[row])].append(row)
        self._columns = _Columns(spans.table, members)
        self._service = spans.table["service"].combine_chunks()
        services = np.asarray(self._service.dictionary_encode().indices, dtype=np.int64)
        self.raised = self._by_head(occurrences(spans, telemetry.logs, sources), owner, services)
        self.sampled = self._by_head(samples(spans, sources), owner, services)
        self.ran = self._by_head(functions(spans, sources), owner, services)

    def complete(self, outside: dict[int, list[Occurrence]], owner: Rows) -> None:
        """Give requests without any exception those that were seen from outside."""
        services = np.asarray(self._service.dictionary_encode().indices, dtype=np.int64)
        for head, seen in self._by_head(outside, owner, services).items():
            if not self.raised.get(head):
                self.raised[head] = seen

    def _by_head(self, found: dict[int, list[T]], owner: Rows, services: Rows) -> dict[int, list[T]]:
        """Per request what was seen on its own service's spans."""
        grouped: defaultdict[int, list[T]] = defaultdict(list)
        for row in sorted(found):
            head = int(owner[row])
            if head >= 0 and services[head] == services[row]:
                grouped[head].extend(found[row])
        return grouped

    def unended(self, head: int) -> bool:
        """No span of the request's own and no payload says how it ended."""
        payload = self._payload(head)
        known = payload is not None and (self.payloads[payload].ended or self.payloads[payload].status is not None)
        return bool(self.spans.unfinished[head]) and not known

    def error(self, head: int) -> bool:
        """A server span of the request has status ERROR."""
        return any(self._columns.get(row, "status") == "ERROR" for row in self.members[head])

    def _payload(self, head: int) -> int | None:
        found = [(role, i) for row in self.members[head] for role, i in self._payload_of.get(self.spans.id(row), ())]
        return min(found)[1] if found else None

    def request(self, head: int) -> RequestSeen:
        """Everything that is known of one request; `failed` is decided elsewhere."""
        index = self._payload(head)
        payload = self.payloads[index] if index is not None else None
        status = self._status(head, payload)
        ended = self._ended(head, payload, status)
        return RequestSeen(
            span=self.spans.id(head), service=str(self._service[head].as_py()), method=self._method(head, payload),
            route=self._route(head, payload), target=self._target(head, payload), status=status, ended=ended,
            duration_s=self._duration(head, payload), start_ns=int(self.spans.start[head]), failed=False,
            exceptions=self._exceptions(head, ended), samples=self._samples(head), payload=index,
            functions=list(dict.fromkeys(self.ran.get(head, []))),
        )  # fmt: skip

    def _first(self, head: int, name: str) -> str | None:
        """The outermost span's value."""
        return next((value for row in self.members[head] if (value := self._columns.get(row, name))), None)

    def _status(self, head: int, payload: Payload | None) -> int | None:
        if payload is not None and payload.role == "edge":
            return payload.status
        said = self._first(head, "code")
        if said and said.isdecimal() and len(said) == 3:
            return int(said)
        return payload.status if payload else None

    def _ended(self, head: int, payload: Payload | None, status: int | None) -> Ended | None:
        """What the client saw counts before what the server thinks of it."""
        said = self._first(head, "ended")
        if payload is not None and (payload.ended or not payload.complete):
            if payload.ended == "timeout":
                return "timeout"
            return "truncated" if status is not None else "closed"
        if said in ("timeout", "closed", "truncated") and not (payload and payload.role == "edge"):
            return "truncated" if said == "closed" and status is not None else said  # type: ignore[return-value]
        return "timeout" if self.unended(head) else None

    def _method(self, head: int, payload: Payload | None) -> str:
        named = str(self.spans.table["name"][head].as_py()).partition(" ")[0]
        fallback = named if named.isupper() and named.isalpha() else ""
        return (payload.method if payload else None) or self._first(head, "method") or fallback

    def _target(self, head: int, payload: Payload | None) -> str:
        if payload is not None:
            return payload.target
        path = self._first(head, "path")
        if path:
            query = self._first(head, "query")
            return f"{path}?{query}" if query and "?" not in path else path
        url = self._first(head, "url") or ""
        return "/" + url.split("://", 1)[1].partition("/")[2] if "://" in url else url

    def _route(self, head: int, payload: Payload | None) -> str:
        """The innermost `http.route` (or RPC method), else the target with its variable parts replaced."""
        for name in ("route", "rpc"):
            for row in reversed(self.members[head]):
                if value := self._columns.get(row, name):
                    return value
        target = self._target(head, payload)
        return names.target(target) if target else str(self.spans.table["name"][head].as_py())

    def _duration(self, head: int, payload: Payload | None) -> float:
        end = int(self.spans.end[head])
        if self.spans.unfinished[head] and payload is not None and payload.end_ns:
            end = payload.end_ns
        return max(0, end - int(self.spans.start[head])) / 1e9

    def _exceptions(self, head: int, ended: Ended | None) -> list[ExceptionSeen]:
        """Best first. Of a request that its client gave up, what only says that the client went away comes last."""
        several = deduplicated(self.raised.get(head, []))
        if ended == "timeout":
            several = sorted(several, key=self._is_consequence)
        return [one.seen for one in several[:MAX_EXCEPTIONS]]

    @staticmethod
    def _is_consequence(one: Occurrence) -> bool:
        return is_consequence(one.seen)

    def _samples(self, head: int) -> list[StackSample]:
        return sorted(self.sampled.get(head, []), key=lambda one: -one.count)[:MAX_SAMPLES]


def is_consequence(seen: ExceptionSeen) -> bool:
    """Raised because the client went away, so no cause of its going."""
    return seen.types[0].rpartition(".")[2] in _CONSEQUENCES


def _payloads_by_span(payloads: list[Payload]) -> dict[str, list[tuple[int, int]]]:
    """Per span id its payloads as (rank, index): the edge's, then the server's."""
    ranks = {"edge": 0, "server": 1}
    found: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for i, payload in enumerate(payloads):
        if payload.role in ranks:
            found[f"{payload.trace_id}/{payload.span_id}"].append((ranks[payload.role], i))
    return found


_KEYS = {
    "code": ("http.response.status_code", "http.status_code"),
    "ended": ("butfor.ended",),
    "method": ("http.request.method", "http.method", "rpc.method"),
    "path": ("url.path", "http.target"),
    "query": ("url.query",),
    "url": ("url.full", "http.url"),
    "route": ("http.route",),
    "rpc": ("rpc.method",),
}


class _Columns:
    """Attributes of the server spans by row."""

    def __init__(self, table: pa.Table, rows: Rows) -> None:
        taken = table.take(pa.array(rows))
        self._at = {row: i for i, row in enumerate(rows.tolist())}
        self._values = {name: first_of(taken, "attributes", keys) for name, keys in _KEYS.items()}
        self._values["status"] = taken["status"].to_pylist()

    def get(self, row: int, name: str) -> str | None:
        """The value, or None where it is absent."""
        return self._values[name][self._at[row]]
