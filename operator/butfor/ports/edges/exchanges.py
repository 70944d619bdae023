"""One request, its answer, and how both ended."""

from __future__ import annotations

import secrets
import time

from .bodies import Recording
from .heads import TRACEPARENT, Headers, field


class Exchange:
    """One request and what came of it. Times are Unix nanoseconds."""

    def __init__(self, method: str, target: str, version: str, headers: Headers, limit: int) -> None:
        self.method, self.target, self.version, self.headers = method, target, version, headers
        found = TRACEPARENT.match(field(headers, "traceparent"))
        self.trace_id = found.group(1) if found else secrets.token_hex(16)
        self.parent, self.flags = (found.group(2), found.group(3)) if found else ("", "01")
        self.span_id = secrets.token_hex(8)
        self.start_ns = time.time_ns()
        self.end_ns: int | None = None
        self.request, self.answer = Recording(limit), Recording(limit)
        self.request_whole = False
        self.status: int | None = None
        self.answer_headers: Headers = []
        self.ended: str | None = None
        self.reset = False
        self.written = False
        self.peer = ""

    @property
    def traceparent(self) -> str:
        """What the service is told: this trace, with the edge's own span as parent."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"

    def end(self, ended: str | None, at_ns: int | None = None) -> None:
        """Fix how it ended: None (whole answer), `closed`, `truncated` or `timeout` (the client gave up)."""
        if self.end_ns is None:
            self.ended = ended
            self.end_ns = at_ns or time.time_ns()
