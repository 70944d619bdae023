"""What a run of a reproduction costs beside the start of the services that it runs.

A run is all of it: checkouts, sandbox, starts, requests, judgement. The services' own start is their `prepare` and
`run` in the same sandbox, from checkouts and environments that are there, one after the other, each until it answers
its ready request; entering the sandbox is not counted for it.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench import starter
from bench.services import served
from butfor.demo.incidents import DEFAULT, materialize
from butfor.evaluating.evaluations import find_histories
from butfor.evaluating.incidents import read_incident
from butfor.evidence.plays import PlannedRequest, PlannedService
from butfor.evidence.predicates import FailurePredicate
from butfor.evidence.reproductions import PlanParts
from butfor.evidence.runs import Tree
from butfor.evidence.services import ServiceDescription
from butfor.ports import environments
from butfor.ports.benches import Bench
from butfor.ports.interpreters import interpreter
from butfor.ports.players.services import url_name
from butfor.ports.sandboxes import Limits
from butfor.reproducing import LocalRunner, Workshop

PORT = 18_477
TITLES = {
    "demo": "the demo's four services", "asgi": "starlette on uvicorn", "wsgi": "flask on waitress",
    "plain": "a bare http.server",
}  # fmt: skip


@dataclass(frozen=True)
class Figures:
    """Seconds of each turn: the service's own start, and a whole run."""

    own: list[float]
    whole: list[float]
    start: list[float]
    """The part of each run until its service was ready."""

    @property
    def ratio(self) -> float:
        """Median run to median own start."""
        return median(self.whole) / median(self.own)


@dataclass(frozen=True)
class Subject:
    """What is run: the services, their histories, and the path that is asked of the last one."""

    services: Sequence[ServiceDescription]
    histories: dict[str, Path]
    commit: str
    target: str = "/healthz"

    @property
    def suspects(self) -> frozenset[str]:
        """The services that run the tree under test."""
        return frozenset(one.name for one in self.services if one.good)

    def runner(self, bench: Bench, scratch: Path) -> LocalRunner:
        """A runner of one request."""
        name = self.services[-1].name
        request = PlannedRequest(id="failing-0", role="failing", service=name, method="GET", target=self.target)
        predicate = FailurePredicate(service=name, method="GET", route=self.target, status=500)
        parts = PlanParts(service=name, requests=[request])
        return LocalRunner(self.services, parts, predicate, Workshop(bench, self.histories, scratch), self.suspects)

    def planned(self, workshop: Workshop) -> list[PlannedService]:
        """Every service at its revision."""
        return [
            workshop.planned(one, Tree(revision=self.commit if one.good else str(one.revision)))
            for one in self.services
        ]


def subject(name: str, folder: Path) -> Subject:
    """`demo`, or one of `bench.services`."""
    if name != "demo":
        one = served(name, folder)
        return Subject([one.description], {name: one.repository}, one.commits[-1])
    [case] = materialize(folder, [DEFAULT])
    incident = read_incident(case)
    return Subject(incident.services, find_histories(incident, case, None), str(incident.services[-1].bad))


def measure(name: str, turns: int = 5) -> Figures:
    """Interleaved, after one turn that fills caches."""
    with tempfile.TemporaryDirectory(prefix="butfor-bench-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o711)
        bench, figures = Bench.of_this_machine(), Figures([], [], [])
        what = subject(name, folder / "histories")
        runner, planned = what.runner(bench, folder / "runs"), what.planned(Workshop(bench, what.histories, folder))
        for turn in range(turns + 1):
            own = own_start(planned, bench, folder)
            whole, start = timed_run(runner, what.commit)
            if turn:
                figures.own.append(own)
                figures.whole.append(whole)
                figures.start.append(start)
        runner.workshop.forget(0)
        return figures


def timed_run(runner: LocalRunner, commit: str) -> tuple[float, float]:
    """Seconds of one run of a commit whose checkouts are not there yet, and of its start."""
    runner.workshop.forget(0)
    begin = time.perf_counter()
    outcome = runner.run(Tree(revision=commit))
    seconds = time.perf_counter() - begin
    if not outcome.started:
        raise RuntimeError(f"the services did not start: {outcome.reason}")
    return seconds, outcome.start_seconds


def own_start(services: Sequence[PlannedService], bench: Bench, folder: Path) -> float:
    """Seconds from before the first `prepare` to the last ready answer, measured inside the sandbox."""
    log = folder / "own.log"
    log.unlink(missing_ok=True)
    own = interpreter(sys.executable)
    bench.sandbox.run(
        [str(own.executable), "-E", "-s", "-S", "-B", "/srv/starter.py", json.dumps(_facts(services))],
        env={}, cwd="/", stdout=log, limits=Limits(seconds=120),
        read_only={**_seen(services), Path(str(starter.__file__)): "/srv/starter.py", **own.binds()},
    )  # fmt: skip
    took = re.search(r"took ([\d.]+)", text := log.read_text("utf-8", "replace"))
    if took is None:
        raise RuntimeError(f"the services did not start by themselves: {text[-300:]}")
    return float(took[1])


def _facts(services: Sequence[PlannedService]) -> list[dict[str, Any]]:
    """What the starter needs to know of each service: the variables are those that a play sets."""
    urls = {url_name(one.name): f"http://127.0.0.1:{PORT + i}" for i, one in enumerate(services)}
    facts = []
    for i, one in enumerate(services):
        top = f"/srv/{one.name}"
        variables = {
            **urls, "PORT": str(PORT + i), "DATA": f"/tmp/data-{one.name}", "WORKTREE": f"{top}/worktree",
            "PATH": f"{environments.environment_inside(one.name)}/bin:/usr/local/bin:/usr/bin:/bin",
            "HOME": "/tmp", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1", **one.environment,
        }  # fmt: skip
        facts.append({
            "name": one.name, "directory": f"{top}/worktree/{one.directory}", "prepare": one.prepare, "run": one.run,
            "ready": one.ready.path, "port": PORT + i, "environment": variables,
        })  # fmt: skip
    return facts


def _seen(services: Sequence[PlannedService]) -> dict[Path, str]:
    seen: dict[Path, str] = {}
    for one in services:
        assert one.environment_path is not None
        seen[one.worktree] = f"/srv/{one.name}/worktree"
        seen[one.environment_path] = environments.environment_inside(one.name)
        seen |= {prefix: str(prefix) for prefix in environments.prefixes_of(one.environment_path)}
    return seen
