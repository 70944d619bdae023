"""One request that this process serves: from its first byte to its last, and what was seen of it."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Callable, Sequence, Tuple

from butfor_inject import contexts, failures
from butfor_inject.bodies import Body
from butfor_inject.spools import Spool

if TYPE_CHECKING:
    from butfor_inject.statements import Statements

Headers = Sequence[Tuple[str, str]]
EXCEPTIONS_KEPT = 8
RAISES_KEPT = 16
RECENT = 64
recent: dict[Any, tuple[str, str]] = {}
"""Exceptions that left an application, and whose: servers log them after the request's context is gone."""


class Exchange:
    """A server span in the making. `ended` is None for a whole answer, else `closed`, `timeout` or `truncated`.

    `server_answers`: the server itself answers 500 when the application raises before it answered.
    `find_route`: asked at the end for the route's template. `trace`: ids that another tracer gave this request,
    `foreign`: the client span that it began last. `statements`: what databases were asked.
    `functions`: code objects that ran, None where nobody looked; `called`: calls that were looked at.
    """

    __slots__ = (
        "answer", "answer_headers", "called", "connection", "done_ns", "ended", "endless", "escaped", "exceptions",
        "find_route", "finished", "foreign", "functions", "gone", "loop", "method", "more_exceptions", "parent_id",
        "path", "peer", "port", "prefix", "query", "raised", "raises", "request", "request_headers", "route",
        "sampled", "samples", "scheme", "server_answers", "span_id", "start_ns", "started", "statements", "status",
        "task", "thread", "threads", "trace", "trace_id", "version",
    )  # fmt: skip

    def __init__(self, spool: Spool, method: str, target: str, headers: Headers, **facts: Any) -> None:
        self.started = time.monotonic()
        self.start_ns = time.time_ns()
        self.method, self.request_headers = method, headers
        self.path, _, self.query = target.partition("?")
        incoming = contexts.parse(next((v for k, v in headers if k.lower() == "traceparent"), ""))
        fresh = contexts.new_id(24)
        self.trace_id, self.parent_id = incoming or (fresh[:32], "")
        self.span_id = fresh[32:]
        self.peer: str | None = facts.get("peer")
        self.port: int | None = facts.get("port")
        self.scheme: str = facts.get("scheme") or "http"
        self.version: str = facts.get("version") or ""
        self.server_answers: bool = facts.get("server_answers", False)
        self.find_route: Callable[[], str | None] | None = facts.get("find_route")
        self.request, self.answer = Body(spool), Body(spool)
        self.status: int | None = None
        self.answer_headers: Headers = ()
        self.done_ns = 0
        self.ended: str | None = None
        self.escaped: dict[str, Any] | None = None
        self.gone = self.finished = self.endless = False
        self.exceptions: dict[Any, dict[str, Any]] = {}
        self.more_exceptions = 0
        self.raises: list[Any] = []
        self.raised = 0
        self.route: str | None = None
        self.prefix = ""
        self.sampled = 0
        self.samples: dict[Any, int] = {}
        self.thread = contexts.thread_number()
        self.threads: set[int] = set()
        self.task: Any = None
        self.loop: Any = None
        self.connection: Any = None
        self.trace: tuple[str, str] | None = None
        self.foreign: Any = None
        self.statements: Statements | None = None
        self.functions: dict[int, Any] | None = None
        self.called = 0

    @property
    def ids(self) -> tuple[str, str]:
        """Trace and span id under which this request is known."""
        return self.trace or (self.trace_id, self.span_id)

    def remember(self, error: BaseException, source: str, *, escaped: bool = False) -> dict[str, Any]:
        """Describe an exception that this request met, once; the better of two sources is kept."""
        key = identity(error)
        known = self.exceptions.get(key)
        if known is None:
            if len(self.exceptions) >= EXCEPTIONS_KEPT and not escaped:
                self.more_exceptions += 1
                return {}
            known = failures.describe(error, source, escaped=escaped)
            known["time_ns"] = time.time_ns()
            self.exceptions[key] = known
        elif escaped:
            moment = known["time_ns"]
            known.update(failures.describe(error, source, escaped=True), time_ns=moment)
        elif source == "log":
            known["butfor.exception.source"] = source
        return known

    def answered(self, status: int, headers: Headers) -> None:
        """The status line and headers are on their way."""
        if status >= 200 or status == 101:
            self.status, self.answer_headers = status, headers
        if status == 101:
            self.done()  # what follows is another protocol, which may last for days
        self.endless = any(k.lower() == "content-type" and v.startswith("text/event-stream") for k, v in headers)
        if status >= 500:
            error = sys.exc_info()[1]
            if error is not None:
                self.remember(error, "raised")

    def sent(self, piece: Any) -> None:
        """A piece of the answer's body is on its way; servers do not send the body of an answer to HEAD."""
        if self.method != "HEAD":
            self.answer.add(piece)

    def done(self) -> None:
        """The application has sent the last byte of its answer."""
        if not self.done_ns:
            self.done_ns = time.time_ns()

    def failed(self, error: BaseException) -> None:
        """An exception left the application."""
        self.escaped = self.remember(error, "span_event", escaped=True)
        if len(recent) >= RECENT:
            recent.clear()
        recent[identity(error)] = self.ids

    def client_left(self) -> None:
        """The client closed its side: it gave up, unless it had all that it was promised."""
        if self.status is not None and (self.endless or self._no_body() or self._missing() == 0):
            self.done()  # nothing but this ends a stream of events, and servers finish after a satisfied client
        elif not self.done_ns:
            self.gone = True

    def settle(self) -> None:
        """Decide how the exchange ended."""
        announced = {k.lower(): v for k, v in self.request_headers}.get("content-length", "")
        if announced.isdigit() and int(announced) > self.request.size:
            self.request.truncated = True  # the service did not read all of it, so neither did we
        if self.status is None and self.escaped and self.server_answers and not self.gone:
            self.status = 500
            self.done()
        elif self.gone:
            self.ended = "timeout"
        elif self.status is None:
            self.ended = "closed"
        elif self._broke_off():
            self.ended = "truncated"

    def _broke_off(self) -> bool:
        if self._no_body():
            return False
        return not self.done_ns or bool(self._missing())

    def _no_body(self) -> bool:
        """Whether the answer is one that has no body, whatever its headers say."""
        status = self.status or 0
        return self.method == "HEAD" or status in (204, 304) or status < 200

    def _missing(self) -> int | None:
        """How many of the promised bytes were not sent; None where no number was promised."""
        named = {k.lower(): v for k, v in self.answer_headers}
        promised = named.get("content-length", "")
        if "content-encoding" in named or not promised.isdigit():
            return None
        return max(int(promised) - self.answer.size, 0)

    @property
    def failing(self) -> bool:
        """Whether the request failed on the server's side, or got no whole answer."""
        return bool(self.ended or self.escaped or (self.status or 0) >= 500)

    @property
    def key(self) -> str:
        """What its duration is compared with: the route, or the path where none is known."""
        return f"{self.method} {self.route or self.path}"


def identity(error: BaseException) -> Any:
    """Objects come and go, and their ids come back: the place of the innermost frame tells them apart."""
    traceback, line = error.__traceback__, 0
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    if traceback is not None:
        line = traceback.tb_lineno
    return id(error), type(error), line
