"""What a capture has seen so far: the spool's span files, followed while they grow."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from butfor.capturing.spools import Document, attributes_of, spans_of

MAX_STEP = 16 * 2**20
"""Bytes read of one file per look; the rest is read at the next."""


@dataclass
class Seen:
    """Counts. A request is one edge span, or one server span of a service that has no edge."""

    edge: Counter[str] = field(default_factory=Counter)
    server: Counter[str] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    edge_failed: Counter[str] = field(default_factory=Counter)
    exceptions: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By (type, source)."""
    ports: set[int] = field(default_factory=set)
    first: str = ""
    unfinished: int = 0
    """Server spans that were begun and never ended; known at the end only."""

    @property
    def requests(self) -> int:
        """Requests over all services."""
        return sum(self.edge[name] or self.server[name] for name in self.edge | self.server)

    @property
    def failures(self) -> int:
        """Requests that failed: 5xx, an exception, an answer that broke off, a client that gave up."""
        names = self.edge | self.server
        return sum(self.edge_failed[n] if self.edge[n] else self.failed[n] for n in names)

    @property
    def server_spans(self) -> int:
        """Spans made inside the services."""
        return sum(self.server.values())


class Sightings:
    """Follows a spool."""

    def __init__(self, spool: Path) -> None:
        self.seen = Seen()
        self._spool = spool
        self._places: dict[Path, int] = {}

    def look(self) -> Seen:
        """Read what is new; a line that is still being written is read next time."""
        for path in sorted(self._spool.glob("spans-*.jsonl")):
            if not path.is_file() or path.is_symlink():
                continue
            with path.open("rb") as file:
                file.seek(self._places.get(path, 0))
                data = file.read(MAX_STEP)
            whole = data[: data.rfind(b"\n") + 1] if len(data) < MAX_STEP else data
            self._places[path] = self._places.get(path, 0) + (data.rfind(b"\n") + 1 or len(whole))
            for line in whole.splitlines():
                self._line(line)
        return self.seen

    def close(self) -> Seen:
        """A last look, and how many requests have no end; an edge sees each end, and has counted it."""
        self.look()
        if self.seen.edge:
            return self.seen
        ends = (*self._spans("spans-*.jsonl"), *self._spans("ended-*.jsonl"))
        ended = {name for _, span in ends if (name := _identity(span))}
        begun = {name for _, span in self._spans("open-*.jsonl") if (name := _identity(span))}
        self.seen.unfinished = len(begun - ended)
        return self.seen

    def _spans(self, pattern: str) -> Iterator[tuple[Document, Document]]:
        for path in sorted(self._spool.glob(pattern)):
            if path.is_file() and not path.is_symlink():
                with path.open("rb") as file:
                    for line in file:
                        document = _parsed(line)
                        yield from spans_of(document) if document else ()

    def _line(self, line: bytes) -> None:
        document = _parsed(line)
        for resource, span in spans_of(document) if document else ():
            self._span(attributes_of(resource).get("service.name", ""), span)

    def _span(self, service: str, span: Document) -> None:
        attributes = attributes_of(span)
        status = span.get("status")
        failed = isinstance(status, dict) and status.get("code") in {2, "STATUS_CODE_ERROR"}
        if span.get("kind") in {2, "SPAN_KIND_SERVER"}:
            edge = bool(attributes.get("butfor.edge"))
            (self.seen.edge if edge else self.seen.server)[service] += 1
            (self.seen.edge_failed if edge else self.seen.failed)[service] += failed
            if attributes.get("server.port", "").isdigit() and not edge:
                self.seen.ports.add(int(attributes["server.port"]))
            self.seen.first = self.seen.first or _named(attributes)
        self._exceptions(span)

    def _exceptions(self, span: Document) -> None:
        events = span.get("events")
        for event in events if isinstance(events, list) else []:
            if isinstance(event, dict) and event.get("name") == "exception":
                found = attributes_of(event)
                key = (found.get("exception.type", "?"), found.get("butfor.exception.source", "span_event"))
                self.seen.exceptions[key] += 1


def _parsed(line: bytes) -> Document | None:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        return None  # counted as a loss when the bundle is written
    return document if isinstance(document, dict) else None


def _identity(span: Document) -> str:
    """Trace and span id of a server span made inside the service; "" of another (an edge sees each end itself)."""
    inside = span.get("kind") in {2, "SPAN_KIND_SERVER"} and not attributes_of(span).get("butfor.edge")
    return f"{span.get('traceId')}/{span.get('spanId')}" if inside else ""


def _named(attributes: dict[str, str]) -> str:
    answer = attributes.get("http.response.status_code") or attributes.get("butfor.ended") or "no status"
    return f"{attributes.get('http.request.method', '?')} {attributes.get('url.path', '?')} -> {answer}"
