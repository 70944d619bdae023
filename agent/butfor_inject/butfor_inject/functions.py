"""Which functions run for a request: they are near a failure that no stack shows.

The first requests of a path are looked at, later ones now and then; each for a bounded number of calls. From CPython
3.12 on by the events of `sys.monitoring`, before by the thread's profile function; where another profiler is set,
nothing is looked at.
"""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from butfor_inject import failures, raising
from butfor_inject.contexts import current
from butfor_inject.exchanges import Exchange

PER_KEY, REQUESTS, INTERVAL_S = 8, 200, 1.0
"""So many requests of a method and path, so many of a process, and afterwards one in so many seconds."""
EVENTS, LONGEST_S, CHECK = 100_000, 10.0, 1024
"""Of one request: calls that are looked at (20 ms), seconds (one may never end), calls between two looks at those."""
KEPT = 500
CODES = 50_000
_LIBRARY = os.path.dirname(os.__file__) + os.sep
_PACKAGES = ("site-packages", "dist-packages")


class Watcher:
    """Decides which requests are looked at, and turns the interpreter's events on and off. `roots`: source folders."""

    def __init__(self, roots: list[str]) -> None:
        self.roots = tuple(root.rstrip(os.sep) + os.sep for root in roots)
        self._known: dict[int, Any] = {}
        self._disable = getattr(getattr(sys, "monitoring", None), "DISABLE", None)
        self.forked()

    def forked(self) -> None:
        """No request survives a fork."""
        self._seen: dict[str, int] = {}
        self._total, self._last = 0, 0.0
        self._open: dict[int, float] = {}
        self._calls = 0

    def begin(self, exchange: Exchange) -> None:
        """A request begins."""
        if self._open:
            self._let_go()
        if not self._wanted(exchange.key):
            return
        self._open[id(exchange)] = time.monotonic()
        if self._switch(on=True):
            exchange.functions = {}
        else:
            self._open.pop(id(exchange), None)

    def end(self, exchange: Exchange) -> None:
        """A request ended."""
        if self._open.pop(id(exchange), None) is not None and not self._open:
            self._switch(on=False)

    def _let_go(self) -> None:
        """Of those that have not ended for long."""
        late = time.monotonic() - LONGEST_S
        for one, began in list(self._open.items()):
            if began < late:
                self._open.pop(one, None)
        if not self._open:
            self._switch(on=False)

    def _wanted(self, key: str) -> bool:
        if "greenlet" in sys.modules:
            return False  # a profile function belongs to a thread, and greenlets share theirs
        now, seen = time.monotonic(), self._seen.get(key, 0)
        if (seen >= PER_KEY or self._total >= REQUESTS) and now - self._last < INTERVAL_S:
            return False
        self._total, self._last = self._total + 1, now
        if key in self._seen or len(self._seen) < REQUESTS:
            self._seen[key] = seen + 1
        return True

    def _switch(self, *, on: bool) -> bool:
        if raising.tool is not None:
            return raising.watch_calls(self._started if on else None)
        if on and sys.getprofile() is None:
            sys.setprofile(self._profiled)
        elif not on and sys.getprofile() == self._profiled:
            sys.setprofile(None)
        return not on or sys.getprofile() == self._profiled

    def follow(self, exchange: Exchange) -> bool:
        """Look at this thread too, which works for the request; True if the caller is to end that."""
        if exchange.functions is None or raising.tool is not None or sys.getprofile() is not None:
            return False
        sys.setprofile(self._profiled)
        return True

    def _profiled(self, frame: Any, event: str, _argument: Any) -> None:
        if not self._open:
            sys.setprofile(None)  # the last request ended in another thread
        elif event == "call":
            self._note(frame.f_code)

    def _started(self, code: Any, _offset: int) -> Any:
        return None if self._note(code) else self._disable

    def _note(self, code: Any) -> bool:
        """Add a function to the request that runs; False where it is never of interest."""
        self._calls += 1
        if not self._calls % CHECK:
            self._let_go()
        known = self._known.get(id(code))
        if known is None:
            if len(self._known) >= CODES:
                self._known.clear()
            known = self._known[id(code)] = (code, self._interesting(code))
        if not known[1]:
            return False
        exchange = current.get()
        if exchange is not None and exchange.functions is not None and not exchange.finished:
            exchange.called += 1
            if exchange.called > EVENTS:
                self.end(exchange)
            elif len(exchange.functions) < KEPT:
                exchange.functions[id(code)] = code
        return True

    def _interesting(self, code: Any) -> bool:
        """A named function of neither the standard library nor ourselves."""
        file = code.co_filename
        if code.co_name.startswith("<") or file.startswith("<") or failures.ours(code):
            return False
        inner = file[len(_LIBRARY) :].partition(os.sep)[0] if file.startswith(_LIBRARY) else ""
        return file.startswith(self.roots) or not file.startswith(_LIBRARY) or inner in _PACKAGES


def named(codes: list[Any]) -> list[list[Any]]:
    """`[file, first line, qualified name]` of code objects; of installed packages only where nothing else ran."""
    every = [failures.place(code, code.co_firstlineno) for code in codes]
    own = [one for one in every if not any(f"{os.sep}{name}{os.sep}" in one[0] for name in _PACKAGES)]
    return own or every
