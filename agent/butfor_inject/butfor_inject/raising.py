"""Exceptions that nobody reports: raise events (CPython 3.12+), printed tracebacks, and dying threads."""

from __future__ import annotations

import json
import sys
import time
from typing import Any, Callable

from butfor_inject import failures
from butfor_inject.boundaries import attempt
from butfor_inject.contexts import copied, current
from butfor_inject.exchanges import RAISES_KEPT, Exchange

FRAMES_KEPT = 60
RAISES_SEEN = 20_000
"""Raise events of one request that are looked at; a request that raises more is not slowed down further."""
_PLAIN = (str, int, float, bytes, type(None))


class _Raise:
    """An exception on its way up, without a reference to it: its frames' codes and offsets, innermost first."""

    __slots__ = ("error_id", "frames", "kind", "text", "time_ns")

    def __init__(self, error: BaseException) -> None:
        self.error_id, self.kind, self.time_ns = id(error), type(error), time.time_ns()
        self.frames: list[Any] = []
        plain = all(type(argument) in _PLAIN for argument in error.args)
        self.text = failures.message(error) if plain else ""


def _on_raise(code: Any, offset: int, error: BaseException) -> None:
    """Called by the interpreter in every frame that an exception passes; kept short."""
    exchange = current.get()
    if exchange is None or exchange.finished or exchange.done_ns or (exchange.status or 0) >= 500:
        return  # what is raised after the failing answer was chosen did not choose it
    raises = exchange.raises
    if raises and raises[-1].error_id == id(error) and raises[-1].kind is type(error):
        last = raises[-1]
    elif exchange.raised < RAISES_SEEN:
        exchange.raised += 1
        last = _Raise(error)
        if len(raises) >= RAISES_KEPT:
            _forget(raises)
        raises.append(last)
    else:
        return
    if len(last.frames) < FRAMES_KEPT:
        last.frames.append((code, offset))


def _forget(raises: list[Any]) -> None:
    """Drop the one that went up the fewest frames: it was handled nearest to where it was raised."""
    raises.remove(min(raises, key=lambda one: len(one.frames)))


def _guarded(code: Any, offset: int, error: BaseException) -> None:
    attempt("raise", _on_raise, code, offset, error)


tool: int | None = None
"""Our tool id of `sys.monitoring`, where there is one."""


def watch_raises() -> bool:
    """Listen to raise events; False where the interpreter has none or every tool id is taken."""
    global tool  # noqa: PLW0603 - one per process
    monitoring = getattr(sys, "monitoring", None)
    if monitoring is None:
        return False
    for free in (4, 3):
        if monitoring.get_tool(free) is None:
            tool = free
            monitoring.use_tool_id(free, "butfor")
            monitoring.register_callback(free, monitoring.events.RAISE, _guarded)
            monitoring.set_events(free, monitoring.events.RAISE)
            return True
    return False


def watch_calls(callback: Callable[[Any, int], Any] | None) -> bool:
    """Listen to the starts of functions, too, or (None) no more; True where events can be had."""
    monitoring = getattr(sys, "monitoring", None)
    if monitoring is None or tool is None:
        return False
    events = monitoring.events
    if callback is not None:
        monitoring.register_callback(tool, events.PY_START, callback)
    monitoring.set_events(tool, events.RAISE if callback is None else events.RAISE | events.PY_START)
    return True


def conclude(exchange: Exchange) -> None:
    """Where a failed request has no better source: the exception that went up the most frames, the last of them."""
    raises, exchange.raises = exchange.raises, []
    if not exchange.failing or exchange.exceptions or not raises:
        return
    best = max(enumerate(raises), key=lambda pair: (len(pair[1].frames), pair[0]))[1]
    passed = [pair for pair in reversed(best.frames) if not failures.ours(pair[0])]
    frames = [failures.place(code, _line(code, offset)) for code, offset in passed]
    name = failures.type_name(best.kind)
    stack = "".join(f'  File "{file}", line {line}, in {function}\n' for file, line, function in frames)
    exchange.exceptions[best.error_id] = {
        "time_ns": best.time_ns,
        "exception.type": name,
        "exception.message": best.text,
        "exception.stacktrace": f"Traceback (most recent call last):\n{stack}{name}: {best.text}\n",
        "exception.escaped": "false",
        "butfor.exception.source": "raised",
        "butfor.exception.frames": json.dumps(frames),
        "butfor.exception.types": json.dumps([name]),
        "butfor.exception.root_message": best.text,
    }


def _line(code: Any, offset: int) -> int:
    for start, end, line in code.co_lines():
        if start <= offset < end and line:
            return int(line)
    return int(code.co_firstlineno)


def hook_traceback(module: Any) -> None:
    """Remember what the service formats or prints a traceback of while it serves a request."""
    original = module.TracebackException.__init__

    def __init__(self: Any, exc_type: Any, exc_value: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        original(self, exc_type, exc_value, *args, **kwargs)
        exchange = current.get()
        if exchange is not None and not failures.describing and not exchange.finished and not kwargs.get("_seen"):
            attempt("traceback", _remember, exchange, exc_value)

    module.TracebackException.__init__ = copied(__init__, original)


def _remember(exchange: Exchange, error: Any) -> None:
    if isinstance(error, BaseException) and error.__traceback__ is not None:
        exchange.remember(error, "raised")
