"""Slow requests: one thread looks where they are, so that slowness has a place in the code too."""

from __future__ import annotations

import sys
import time
from _thread import start_new_thread
from typing import Any, Callable, Iterator

from butfor_inject.boundaries import attempt
from butfor_inject.contexts import current, thread_number
from butfor_inject.exchanges import Exchange

SLOW_S = 0.25
TIMES_MEDIAN = 4
POPULATION = 64
ROUTES = 512
INTERVAL_S = 0.02
ROUNDS_PER_INTERVAL = 50
LONGEST_S = 0.5
STACKS = 40
DEPTH = 120
FLUSH_AT = {5 * 2**power for power in range(1, 12)}
"""Rounds of samples after which what is known is written, in case the process is killed."""


class Sampler:
    """Knows the open requests and each route's durations; `flush` writes what is known of an open request."""

    def __init__(self, flush: Callable[[Exchange], None]) -> None:
        self._flush = flush
        self._durations: dict[str, list[float]] = {}
        self.forked()

    def forked(self) -> None:
        """No thread and no request survives a fork."""
        self._open: dict[int, Exchange] = {}
        self._due: dict[int, tuple[float, int]] = {}
        self._running = False

    def watch(self, exchange: Exchange) -> None:
        """A request begins."""
        self._open[id(exchange)] = exchange
        if not self._running:
            self._running = True
            start_new_thread(self._run, ())

    def leave(self, exchange: Exchange) -> None:
        """A request ended."""
        self._open.pop(id(exchange), None)
        self._due.pop(id(exchange), None)

    def learn(self, exchange: Exchange) -> None:
        """Add a whole answer's duration to its route's population."""
        if exchange.ended:
            return
        seen = self._durations.get(exchange.key)
        if seen is None:
            if len(self._durations) >= ROUTES:
                return
            seen = self._durations[exchange.key] = []
        seen.append(time.monotonic() - exchange.started)
        if len(seen) > POPULATION:
            del seen[: POPULATION // 2]

    def threshold(self, key: str) -> float:
        """Seconds after which a request of this route counts as slow."""
        seen = sorted(self._durations.get(key, ()))
        return max(SLOW_S, TIMES_MEDIAN * seen[len(seen) // 2]) if seen else SLOW_S

    def _run(self) -> None:
        own = thread_number()
        while True:
            time.sleep(INTERVAL_S if self._due else 0.05)
            attempt("sample", self._look, own)

    def _look(self, own: int) -> None:
        now = time.monotonic()
        for exchange in list(self._open.values()):
            if now - exchange.started < SLOW_S or exchange.done_ns or exchange.endless:
                continue
            due, rounds = self._due.get(id(exchange), (0.0, 0))
            if not due:
                due = exchange.started + self.threshold(exchange.key)
            if now >= due:
                self._sample(exchange, own)
                rounds += 1
                step = min(INTERVAL_S * 2 ** (rounds // ROUNDS_PER_INTERVAL), LONGEST_S)
                due = now + step
                if rounds in FLUSH_AT:
                    self._flush(exchange)
            if id(exchange) in self._open:
                self._due[id(exchange)] = (due, rounds)

    def _sample(self, exchange: Exchange, own: int) -> None:
        exchange.sampled += 1
        running = sys._current_frames()  # noqa: SLF001 - documented, the only way to see another thread's stack
        numbers = exchange.threads | (set() if exchange.task is not None else {exchange.thread})
        for number in numbers - {own}:
            if number in running:
                _count(exchange, _of_frame(running[number]))
        if exchange.task is not None:
            _sample_task(exchange, running.get(exchange.thread))


def _sample_task(exchange: Exchange, loop_frame: Any) -> None:
    """The event loop's thread where it runs code, and what the request's tasks wait for."""
    if loop_frame is not None and not _idle(exchange, loop_frame):
        _count(exchange, _of_frame(loop_frame))
    for task in _tasks(exchange):
        _count(exchange, _of_waiting(task))


def _idle(exchange: Exchange, frame: Any) -> bool:
    """Whether the event loop waits for something to do; uvloop waits outside of Python."""
    if type(exchange.loop).__module__.startswith("uvloop"):
        return sys.modules["asyncio"].current_task(exchange.loop) is None
    return bool(frame.f_code.co_filename.endswith("selectors.py"))


def _tasks(exchange: Exchange) -> list[Any]:
    tasks = [exchange.task]
    asyncio = sys.modules.get("asyncio")
    if asyncio is None or exchange.loop is None:
        return tasks
    for task in asyncio.all_tasks(exchange.loop):
        context = getattr(task, "get_context", None)  # since 3.12
        if task is not exchange.task and context is not None and context().get(current) is exchange:
            tasks.append(task)
    return tasks


def _of_frame(frame: Any) -> tuple[Any, ...]:
    stack = []
    while frame is not None:
        stack.append((frame.f_code, frame.f_lineno))
        frame = frame.f_back
    return _cut(stack[::-1])


def _of_waiting(task: Any) -> tuple[Any, ...]:
    return _cut(list(_awaited(task.get_coro(), 0)))


def _awaited(awaitable: Any, depth: int) -> Iterator[tuple[Any, int]]:
    """Frames of a suspended coroutine, outermost first, through the tasks that it waits for."""
    while awaitable is not None and depth < DEPTH:
        frame = _first(awaitable, "cr_frame", "gi_frame", "ag_frame")
        if frame is None:
            inner = getattr(awaitable, "_fut_waiter", None)
            coroutine = getattr(awaitable, "get_coro", None)
            awaitable = coroutine() if coroutine is not None else inner
            depth += 1
            if coroutine is None and inner is None:
                return
            continue
        if _first(awaitable, "cr_running", "gi_running", "ag_running"):
            return
        yield frame.f_code, frame.f_lineno
        awaitable = _first(awaitable, "cr_await", "gi_yieldfrom", "ag_await")
        depth += 1


def _first(value: Any, *names: str) -> Any | None:
    for name in names:
        found = getattr(value, name, None)
        if found is not None:
            return found
    return None


def _cut(stack: list[Any]) -> tuple[Any, ...]:
    return tuple(stack if len(stack) <= DEPTH else stack[:20] + stack[20 - DEPTH :])


def _count(exchange: Exchange, stack: tuple[Any, ...]) -> None:
    """Fold: the same lines, or once there are many, the same functions."""
    samples = exchange.samples
    if not stack:
        return
    if stack in samples or len(samples) < STACKS:
        samples[stack] = samples.get(stack, 0) + 1
        return
    functions = [code for code, _ in stack]
    for known in samples:
        if [code for code, _ in known] == functions:
            samples[known] += 1
            return
