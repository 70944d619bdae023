"""The process's one recorder: begins and ends exchanges, and writes what the spool's contract asks for."""

from __future__ import annotations

from _thread import allocate_lock
from typing import Any

from butfor_inject import contexts, publishing, raising, records, tracers
from butfor_inject.boundaries import attempt
from butfor_inject.contexts import current
from butfor_inject.crashes import Crashes
from butfor_inject.exchanges import Exchange, Headers
from butfor_inject.functions import Watcher
from butfor_inject.processes import ProcessNotes
from butfor_inject.sampling import Sampler
from butfor_inject.settings import Settings
from butfor_inject.spools import Spool


class Recorder:
    """Everything that is captured in this process goes through here. Its methods do not raise."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.spool = Spool(settings)
        self.process = ProcessNotes(self.spool)
        self.crashes = Crashes(self.spool)
        self.sampler = Sampler(self._flush)
        self.watcher = Watcher(settings.roots) if settings.functions else None
        if self.watcher is not None:
            contexts.follow = self.watcher.follow

    def begin(self, method: str, target: str, headers: Headers, **facts: Any) -> Exchange | None:
        """Open a server span; None if we failed to."""
        exchange: Exchange | None = attempt("begin", self._begin, method, target, headers, facts)
        return exchange

    def _begin(self, method: str, target: str, headers: Headers, facts: dict[str, Any]) -> Exchange:
        exchange = Exchange(self.spool, method, target, headers, **facts)
        if not tracers.active():
            self.spool.span(records.server_span(exchange, finished=False), kind="open")
        self.sampler.watch(exchange)
        self.process.served()
        self.crashes.start()
        if self.watcher is not None:
            attempt("functions", self.watcher.begin, exchange)
        return exchange

    def _flush(self, exchange: Exchange) -> None:
        if exchange.trace is None:
            self.spool.span(records.server_span(exchange, finished=False), kind="open")
        if exchange.statements is not None:
            attempt("statements", exchange.statements.write, exchange, self.spool)

    def adopt(self, exchange: Exchange, ids: tuple[str, str]) -> None:
        """Another tracer writes this request's server span, under these ids."""
        exchange.trace = ids
        span = records.server_span(exchange, finished=False)
        attempt("adopt", lambda: self.spool.span(span, kind="open"))

    def end(self, exchange: Exchange | None) -> None:
        """Close a server span; a second call does nothing."""
        if exchange is not None and not exchange.finished:
            exchange.finished = True
            attempt("end", self._end, exchange)

    def _end(self, exchange: Exchange) -> None:
        if self.watcher is not None:
            attempt("functions", self.watcher.end, exchange)
        self.sampler.leave(exchange)
        if exchange.find_route is not None and exchange.route is None:
            exchange.route = attempt("route", exchange.find_route)
        exchange.find_route = exchange.task = exchange.loop = exchange.connection = None
        exchange.settle()
        self.sampler.learn(exchange)
        raising.conclude(exchange)
        for described in exchange.exceptions.values():
            self.process.saw(described["butfor.exception.source"])
        if exchange.statements is not None:
            attempt("statements", exchange.statements.write, exchange, self.spool)
        self.spool.payload(records.server_payload(exchange, self.settings.service))
        attempt("modules", self.process.modules)
        attempt("process", self.process.write)
        evidence = None if exchange.trace is None else records.evidence_span(exchange)
        if evidence is not None:
            self.spool.span(evidence)
        # last of all: whoever reads that the span has ended finds everything else written
        kind = "spans" if exchange.trace is None else "ended"
        self.spool.span(records.server_span(exchange, finished=True), kind=kind)

    def forked(self) -> None:
        """Start afresh in a forked child: the parent's requests are the parent's."""
        attempt("fork", self.spool.reset)
        attempt("fork", self.crashes.forked)
        attempt("fork", self.sampler.forked)
        if self.watcher is not None:
            attempt("fork", self.watcher.forked)
        attempt("fork", self.process.forked)
        current.set(None)
        publishing.restore(None)


_recorder: Recorder | None = None
_lock = allocate_lock()


def start(settings: Settings) -> Recorder:
    """Make the process's recorder, once."""
    global _recorder  # noqa: PLW0603 - one per process is the point
    with _lock:
        if _recorder is None:
            _recorder = Recorder(settings)
        return _recorder


def recorder() -> Recorder:
    """The process's recorder; activating starts it before anything is hooked."""
    if _recorder is None:
        raise RuntimeError("capturing was not activated")
    return _recorder
