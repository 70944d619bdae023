"""Captures the demo's shop with the witness in its services; what the witness wrote, and what the join made of the events."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from butfor.capturing.incidents import capture_play
from butfor.correlating import correlate
from butfor.demo.incidents import materialize
from butfor.evaluating import captures
from butfor.evaluating.evaluations import find_histories
from butfor.evaluating.incidents import read_incident
from butfor.evaluating.loads import planned_load
from butfor.evidence.plays import Plan
from butfor.evidence.timelines import Timelines
from butfor.ingesting import read
from butfor.ingesting.bundles import open_bundle
from butfor.ingesting.collecting import collect
from butfor.ports.benches import Bench
from butfor.ports.environments import worktree_inside
from butfor.ports.kernels import Kernel
from butfor.ports.plays import play

WITNESS = Path(__file__).parent / "witness"
SPOOL = "/srv/.play/out/spool"


@dataclass(frozen=True)
class Seen:
    """One capture: its joined events, the witness's rows by process, and how far the two clocks may be apart."""

    timelines: Timelines
    rows: dict[int, list]
    clock_bound_ns: int


def witnessed(name: str, kernel: Kernel, out: Path, work: Path) -> Seen:
    """Capture an incident as the demo does, with the witness on each service's PYTHONPATH."""
    (case,) = materialize(work / "cases", [name])
    incident, bench = read_incident(case), Bench.of_this_machine()
    histories = find_histories(incident, case, None)
    with tempfile.TemporaryDirectory(prefix="butfor-truth-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o711)
        services = [captures._planned(one, histories, bench, folder, lambda _: None) for one in incident.services]
        place = bench.sandbox.inside(folder / "play" / "out" / "spool", SPOOL)
        plan = Plan(
            services=[_watched(one, bench, place) for one in services], requests=planned_load(incident, folder),
            concurrency=incident.load.concurrency, repeat=incident.load.repeat, seed=captures.SEED, case=case,
            deadline_s=900, collect=True,
        )  # fmt: skip
        seen = play(plan, sandbox=bench.sandbox, folder=folder / "play", kernel=kernel)
        assert seen.started, seen.reason
        assert seen.kernel_reason == ""
        losses = collect(seen.spool, {one.name: one.revision for one in services})
        capture_play(seen, [captures._seen(one, bench) for one in services], out, losses=losses)
        rows = {int(path.stem[6:]): _lines(path) for path in seen.spool.glob("truth-*.jsonl")}
        bound = seen.kernel_recording.clock_bound_ns
    return Seen(correlate(read(open_bundle(out)), incident.symptom), rows, bound)


def _watched(service, bench, place):
    """The witness lies in the service's tree, which is all that the sandbox shows of us."""
    shutil.copytree(WITNESS, service.worktree / ".witness")
    folder = bench.sandbox.inside(service.worktree, worktree_inside(service.name)) + "/.witness"
    added = {"PYTHONPATH": folder, "SHOP_TRUTH": place}
    return service.model_copy(update={"environment": {**service.environment, **added}})


def _lines(path):
    """A process that was killed may have left half a line."""
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
