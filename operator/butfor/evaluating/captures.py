"""Capturing an incident: its services at bad, started in the sandbox behind recording edges, under its load."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from butfor.capturing.incidents import capture_play
from butfor.errors import InconclusiveError, UserError
from butfor.evaluating.loads import planned_load
from butfor.evidence.bundles import CapturedService
from butfor.evidence.incidents import Incident
from butfor.evidence.plays import Observation, Plan, PlannedService
from butfor.evidence.runs import Tree
from butfor.evidence.services import ServiceDescription
from butfor.ingesting.collecting import collect
from butfor.ports.benches import Bench
from butfor.ports.environments import worktree_inside
from butfor.ports.plays import play
from butfor.ports.repositories import Repository
from butfor.ports.worktrees import Worktrees

SEED = 20260101
"""The order of a concurrent load is shuffled, but the same each time."""


def capture_incident(
    incident: Incident, case: Path, histories: dict[str, Path], bench: Bench, out: Path,
    watch: Callable[[str], None] = lambda _: None,
) -> Path:  # fmt: skip
    """Run the incident at bad and write its bundle to `out` (privacy `local`: it never leaves this machine).

    `watch` is told what goes on: the first setup of a service may take minutes.
    """
    with tempfile.TemporaryDirectory(prefix="butfor-capture-") as scratch:
        folder = Path(scratch)
        # the sandbox's user must be able to pass through to the parts that are mapped into it
        folder.chmod(0o711)
        services = [_planned(service, histories, bench, folder, watch) for service in incident.services]
        plan = Plan(
            services=services, requests=planned_load(incident, folder), concurrency=incident.load.concurrency,
            repeat=incident.load.repeat, seed=SEED, case=case, deadline_s=900, collect=True, functions=True,
        )  # fmt: skip
        watch(f"{', '.join(one.name for one in services)}: started, and sent the load")
        observation = play(plan, sandbox=bench.sandbox, folder=folder / "play", kernel=bench.kernel)
        if not observation.kernel and bench.kernel_reason:
            recording = observation.kernel_recording.model_copy(update={"reason": bench.kernel_reason})
            observation = observation.model_copy(update={"kernel_recording": recording})
        _require_start(incident, observation)
        losses = collect(observation.spool, {one.name: one.revision for one in services})
        return capture_play(observation, [_seen(one, bench) for one in services], out, privacy="local", losses=losses)


def _seen(service: PlannedService, bench: Bench) -> CapturedService:
    root = bench.sandbox.inside(service.worktree, worktree_inside(service.name))
    return CapturedService(name=service.name, revision=service.revision, source_roots=[root])


def _planned(
    service: ServiceDescription, histories: dict[str, Path], bench: Bench, folder: Path, watch: Callable[[str], None]
) -> PlannedService:
    wanted = service.bad or service.revision or "HEAD"
    if service.name not in histories:
        raise UserError(f"service {service.name} has no repository; add `repository` to it in incident.yaml")
    with Repository(histories[service.name]) as repository:
        revision = repository.resolve(wanted)
    worktrees = Worktrees(histories[service.name], folder / f"{service.name}.worktrees")
    watch(f"{service.name}: set up at {wanted}")
    return bench.planned(service, Tree(revision=revision), worktrees, folder, edge=True)


def _require_start(incident: Incident, observation: Observation) -> None:
    if not observation.started:
        raise InconclusiveError(f"{incident.id} could not be captured: {observation.reason}")
