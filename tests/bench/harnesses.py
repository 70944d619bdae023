"""What a run of a reproduction costs beside the start of the service that it runs.

A run is all of it: checkout, sandbox, start, requests, judgement. The service's own start is its `run` in the same
sandbox, from a checkout and an environment that are there, until it answers its ready request.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.services import Served, served
from butfor.evidence.plays import PlannedRequest, PlannedService
from butfor.evidence.predicates import FailurePredicate
from butfor.evidence.reproductions import PlanParts
from butfor.evidence.runs import Tree
from butfor.ports import environments
from butfor.ports.benches import Bench
from butfor.ports.sandboxes import Limits
from butfor.reproducing import LocalRunner, Workshop

PORT = 18_477
TITLES = {"asgi": "starlette on uvicorn", "wsgi": "flask on waitress", "plain": "a bare http.server"}
_START = """
begin=$EPOCHREALTIME
bash -e -o pipefail -c "$RUN" &
until (exec 3<>/dev/tcp/127.0.0.1/$PORT && printf 'GET %s HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n' "$READY" >&3 \
  && read -r line <&3 && [[ $line == *" 200"* ]]) 2>/dev/null; do sleep 0.005; done
echo "took $begin $EPOCHREALTIME"
kill -KILL $!
"""


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


def measure(name: str, turns: int = 5) -> Figures:
    """Interleaved, after one turn that fills caches."""
    with tempfile.TemporaryDirectory(prefix="butfor-bench-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o711)
        bench = Bench.of_this_machine()
        with runs(served(name, folder / "histories"), bench, folder) as (runner, service, commits):
            figures = Figures([], [], [])
            for turn in range(turns + 1):
                own = own_start(service, bench, folder)
                whole, start = timed_run(runner, commits[turn % len(commits)])
                if turn:
                    figures.own.append(own)
                    figures.whole.append(whole)
                    figures.start.append(start)
            return figures


@contextmanager
def runs(one: Served, bench: Bench, folder: Path) -> Iterator[tuple[LocalRunner, PlannedService, list[str]]]:
    """A runner of one request, and the service at its first commit."""
    workshop = Workshop(bench, {one.description.name: one.repository}, folder / "workshop")
    request = PlannedRequest(id="failing-0", role="failing", service=one.description.name, method="GET", target="/one")
    predicate = FailurePredicate(service=one.description.name, method="GET", route="/one", status=500)
    runner = LocalRunner(
        [one.description], PlanParts(service=one.description.name, requests=[request]), predicate, workshop,
        frozenset({one.description.name}),
    )  # fmt: skip
    other = Workshop(bench, workshop.histories, folder / "other")
    yield runner, other.planned(one.description, Tree(revision=one.commits[0])), one.commits
    workshop.forget(0)
    other.forget(0)


def timed_run(runner: LocalRunner, commit: str) -> tuple[float, float]:
    """Seconds of one run of a commit whose checkout is not there yet, and of its start."""
    runner.workshop.forget(0)
    begin = time.perf_counter()
    outcome = runner.run(Tree(revision=commit))
    seconds = time.perf_counter() - begin
    if not outcome.started:
        raise RuntimeError(f"the service did not start: {outcome.reason}")
    return seconds, outcome.start_seconds


def own_start(service: PlannedService, bench: Bench, folder: Path) -> float:
    """Seconds from the first line of `run` to the first ready answer, measured inside the sandbox."""
    assert service.environment_path is not None
    inside, log = f"/srv/{service.name}/worktree", folder / "own.log"
    log.unlink(missing_ok=True)
    environment = environments.environment_inside(service.name)
    prefixes = {prefix: str(prefix) for prefix in environments.prefixes_of(service.environment_path)}
    bench.sandbox.run(
        ["bash", "-c", _START], cwd=inside, stdout=log, limits=Limits(seconds=60),
        env={
            "RUN": service.run, "PORT": str(PORT), "READY": service.ready.path, "PYTHONDONTWRITEBYTECODE": "1",
            "PATH": f"{environment}/bin:/usr/local/bin:/usr/bin:/bin",
        },
        read_only={service.worktree: inside, service.environment_path: environment, **prefixes},
    )  # fmt: skip
    took = re.search(r"took ([\d.]+) ([\d.]+)", text := log.read_text("utf-8", "replace"))
    if took is None:
        raise RuntimeError(f"the service did not start by itself: {text[-300:]}")
    return float(took[2]) - float(took[1])
