"""Which request the running code serves: a context variable, carried into the standard library's thread pools."""

from __future__ import annotations

import os
import sys
from _thread import get_ident
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Callable

from butfor_inject import publishing

if TYPE_CHECKING:
    from butfor_inject.exchanges import Exchange

thread_number = get_ident
"""The running thread's identity, as `sys._current_frames` names it; bound early, before anyone patches it."""

current: ContextVar[Exchange | None] = ContextVar("butfor_exchange", default=None)


follow: Callable[[Exchange], bool] | None = None
"""Looks at what runs in this thread too; set where functions are watched."""


def parse(traceparent: str) -> tuple[str, str] | None:
    """Trace and parent span id of a W3C `traceparent`, or None if it is not valid."""
    parts = traceparent.strip().lower().split("-")
    if len(parts) < 4 or len(parts[0]) != 2 or parts[0] == "ff":
        return None
    trace_id, span_id = parts[1], parts[2]
    if len(trace_id) != 32 or len(span_id) != 16 or not _hex(trace_id) or not _hex(span_id):
        return None
    return trace_id, span_id


def _hex(text: str) -> bool:
    return all(c in "0123456789abcdef" for c in text) and text.strip("0") != ""


def new_id(size: int) -> str:
    """A random id of `size` bytes, in hex; never from `random`, whose state belongs to the service."""
    return os.urandom(size).hex()


def enter(exchange: Exchange) -> tuple[Any, Any]:
    """From now on this context serves the request; what it returns is for `leave`."""
    return current.set(exchange), publishing.show(exchange.ids)


def leave(entered: tuple[Any, Any]) -> None:
    """The context serves what it did before; nothing where it is another context than the one that was entered."""
    token, before = entered
    try:
        current.reset(token)
    except ValueError:
        current.set(None)
    publishing.restore(before)


def carried(exchange: Exchange, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Any:
    """Run `function` in this thread on behalf of `exchange`."""
    token, shown = current.set(exchange), publishing.show_if_none(exchange.ids)
    number = thread_number()
    exchange.threads.add(number)
    followed = follow is not None and follow(exchange)
    try:
        return function(*arguments, **named)
    finally:
        if followed:
            sys.setprofile(None)
        exchange.threads.discard(number)
        current.reset(token)
        publishing.restore(shown)


def hook_executors(module: Any) -> None:
    """Make `ThreadPoolExecutor.submit` carry the request along."""
    original = module.ThreadPoolExecutor.submit

    def submit(self: Any, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        exchange = current.get()
        if exchange is None:
            return original(self, fn, *args, **kwargs)
        return original(self, carried, exchange, fn, *args, **kwargs)

    module.ThreadPoolExecutor.submit = copied(submit, original)


def hook_anyio(module: Any) -> None:
    """Name the worker thread of `anyio.to_thread.run_sync`, which carries the context itself."""
    original = module.run_sync

    def run_sync(func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        exchange = current.get()
        if exchange is None:
            return original(func, *args, **kwargs)
        return original(carried, exchange, func, *args, **kwargs)

    module.run_sync = copied(run_sync, original)


def copied(replacement: Any, original: Any) -> Any:
    """`replacement` under the original's name and documentation (functools.wraps, without `__wrapped__`)."""
    for name in ("__module__", "__name__", "__qualname__", "__doc__", "__annotations__"):
        if hasattr(original, name):
            setattr(replacement, name, getattr(original, name))
    return replacement


def task_now() -> Any:
    """The asyncio task that is running, or None; never imports asyncio."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return None
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
