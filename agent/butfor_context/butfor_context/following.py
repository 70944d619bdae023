"""Keeps the record fresh where the interpreter changes what a thread works on: contexts, event loops, greenlets."""

from __future__ import annotations

import sys
import threading
from collections.abc import Coroutine
from typing import Any

from butfor_context import writer

_followed: list[str] = []


def install() -> None:
    """Follow contexts (asyncio, thread helpers, anyio), uvloop and gevent where they are loaded; again does no harm."""
    if "contexts" not in _followed:
        writer.follow_contexts()
        _followed.append("contexts")
    for name, follow in (("uvloop", _follow_uvloop), ("greenlet", _follow_greenlets)):
        if name in sys.modules and name not in _followed:
            follow(sys.modules[name])
            _followed.append(name)


def coverage() -> list[str]:
    """What the record follows: `threads` always, `contexts`, `uvloop` and `greenlet` once installed and loaded."""
    return ["threads", *_followed]


def _follow_uvloop(module: Any) -> None:
    """An uvloop enters contexts in C: each task's coroutine shows its span itself."""
    original = module.Loop.create_task

    def create_task(self: Any, coro: Coroutine[Any, Any, Any], **named: Any) -> Any:
        return original(self, writer.follow(coro), **named)

    module.Loop.create_task = create_task


def _follow_greenlets(module: Any) -> None:
    """A greenlet brings its own context: after each switch the record shows that one. Tracing is set per thread."""

    def switched(_event: str, _greenlets: Any) -> None:
        writer.refresh()

    module.settrace(switched)
    run = threading.Thread.run

    def traced(self: threading.Thread) -> None:
        module.settrace(switched)
        run(self)

    threading.Thread.run = traced  # type: ignore[method-assign]
