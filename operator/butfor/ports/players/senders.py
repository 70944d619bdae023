"""Sending a plan's requests and writing down the answers. Standard library only; imports its neighbour `clients`."""

from __future__ import annotations

import hashlib
import os
import queue
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from . import clients
else:
    import clients

Json = dict[str, Any]


class Sender:
    """Sends requests of a plan to `ports` (service or stub name to port of 127.0.0.1) until `deadline`.

    `deadline` is monotonic seconds; bodies of answers go to `out/bodies/<sha256>`.
    """

    def __init__(self, plan: Json, out: str, ports: dict[str, int], deadline: float) -> None:
        self.plan, self.out, self.ports, self.deadline = plan, Path(out), ports, deadline
        self.requests: list[Json] = plan.get("requests") or []
        self.memory = clients.Memory({n for r in self.requests for n in r.get("save") or {}})
        self.answers: list[Json] = []
        self._lock = threading.Lock()

    def send_all(self) -> None:
        """Send `before` in order, then the rest: in order, or shuffled over `concurrency` threads."""
        for request in (r for r in self.requests if r["role"] == "before"):
            for iteration in range(int(request.get("repeat") or 1)):
                self.send(request, iteration)
        todo = self._rest()
        wanted = int(self.plan.get("concurrency") or 1)
        if wanted <= 1:
            for request, iteration in todo:
                self.send(request, iteration)
        else:
            random.Random(int(self.plan.get("seed") or 0)).shuffle(todo)  # noqa: S311 - an order, not a secret
            self._send_concurrently(todo, wanted)

    def _rest(self) -> list[tuple[Json, int]]:
        """Healthy and failing requests with their iteration, in order: the whole list `repeat` times."""
        todo: list[tuple[Json, int]] = []
        for turn in range(int(self.plan.get("repeat") or 1)):
            for request in (r for r in self.requests if r["role"] != "before"):
                times = int(request.get("repeat") or 1)
                todo += [(request, turn * times + i) for i in range(times)]
        return todo

    def _send_concurrently(self, todo: list[tuple[Json, int]], count: int) -> None:
        waiting: queue.SimpleQueue[tuple[Json, int]] = queue.SimpleQueue()
        for entry in todo:
            waiting.put(entry)

        def work() -> None:
            while not waiting.empty():
                try:
                    request, iteration = waiting.get_nowait()
                except queue.Empty:
                    return
                self.send(request, iteration)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(min(count, len(todo)))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def send(self, request: Json, iteration: int) -> None:
        """Send one request once and record its answer, or why it was not sent."""
        record: Json = {"id": request["id"], "role": request["role"], "iteration": iteration}
        content = Path(request["body"]).read_bytes() if request.get("body") else None
        if problem := self._unsendable(request, content):
            self._record(record | {"skipped": problem, "complete": False})
            return
        trace, headers = traced(self.memory.headers([(str(n), str(v)) for n, v in request.get("headers") or []]))
        if content is not None and b"{{" in content:
            content = self.memory.fill(content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        timeout = min(float(request.get("timeout_s") or 10), max(self.deadline - time.monotonic(), 0.05))
        target, port = self.memory.fill(request["target"]), self.ports[request["service"]]
        answer = clients.exchange(port, request["method"], target, headers, content, timeout)
        self.memory.save(request.get("save") or {}, answer)
        self._record(record | self._as_json(answer) | {"trace_id": trace})

    def _unsendable(self, request: Json, content: bytes | None) -> str:
        if time.monotonic() >= self.deadline:
            return "the play's deadline was reached"
        if request["service"] not in self.ports:
            return f"no service {request['service']}"
        parts = [request["target"], *(str(v) for _, v in request.get("headers") or [])]
        if content is not None and b"{{" in content:
            parts.append(content.decode("utf-8", "replace"))
        missing = self.memory.missing("\n".join(parts))
        return f"no answer gave a value for {missing}" if missing else ""

    def _as_json(self, answer: clients.Answer) -> Json:
        body = None
        if answer.body:
            body = f"bodies/{hashlib.sha256(answer.body).hexdigest()}"
            if not (self.out / body).exists():
                (self.out / body).write_bytes(answer.body)
        return {
            "status": answer.status, "ended": answer.ended, "headers": answer.headers, "body": body,
            "body_bytes": answer.body_bytes, "complete": answer.complete, "seconds": answer.seconds,
            "start_ns": answer.start_ns,
        }  # fmt: skip

    def _record(self, record: Json) -> None:
        with self._lock:
            self.answers.append(record)


def traced(headers: list[tuple[str, str]]) -> tuple[str, list[tuple[str, str]]]:
    """A new trace id, and the headers with its `traceparent` in place of any that they had."""
    trace, span = os.urandom(16).hex(), os.urandom(8).hex()
    kept = [(name, value) for name, value in headers if name.lower() not in ("traceparent", "tracestate")]
    return trace, [*kept, ("traceparent", f"00-{trace}-{span}-01")]


def wait_ready(
    port: int, ready: Json, deadline: float, check_alive: Callable[[], None], poll_s: float = 0.005
) -> tuple[str, list[str]]:
    """Poll the ready request until it is answered as expected or `deadline` (monotonic seconds) passes.

    Returns ("" or what was last seen, trace ids of the probes that were answered). `check_alive` may raise.
    """
    path, expected = ready.get("path", "/"), int(ready.get("expect_status", 200))
    last, traces = "it does not listen", []
    while time.monotonic() < deadline:
        check_alive()
        trace, headers = traced([("Accept", "*/*")])
        answer = clients.exchange(port, "GET", path, headers, None, 5.0)
        if answer.ended != "refused":
            traces.append(trace)
            last = f"{path} answers {answer.status or answer.ended}, not {expected}"
        if answer.status == expected:
            return "", traces
        time.sleep(poll_s)
    return last, traces
