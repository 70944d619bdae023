"""From plan parts and a tree to a plan that can be played: which services run, on which tree, with which stubs."""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from butfor.errors import UserError
from butfor.evidence.plays import Plan, PlannedRequest, PlannedService, StubAnswer
from butfor.evidence.reproductions import PlanParts
from butfor.evidence.runs import Tree
from butfor.evidence.services import ServiceDescription
from butfor.ports.benches import Bench
from butfor.ports.worktrees import Checkout, Worktrees

KEPT_TREES = 8
Sent = TypeVar("Sent", PlannedRequest, StubAnswer)
START_TIMEOUT_S, SHORTEST_START_S = 60.0, 10.0
ENOUGH_STARTS, START_SLACK = 6, 10.0
"""After so many starts a service that takes START_SLACK times the longest of them is taken not to start."""
GOOD = "good"
"""The label of a tree that runs with `good_environment`, where good and bad differ in configuration."""


@dataclass
class Workshop:
    """What every run shares: the bench, the histories (service name -> git folder), and a scratch folder.

    Worktrees of the last few trees are kept, because a tree is run several times; they are mounted read-only
    or made anew, never trusted after a change of tree.
    """

    bench: Bench
    histories: Mapping[str, Path]
    scratch: Path
    worktrees: dict[Path, Worktrees] = field(default_factory=dict)
    kept: OrderedDict[str, tuple[PlannedService, Worktrees]] = field(default_factory=OrderedDict)
    made: int = 0
    waiting: list[Checkout] = field(default_factory=list)
    """Checkouts that go on."""
    starts: list[float] = field(default_factory=list)
    """Seconds that each start took until everything was ready."""

    def start_timeout(self) -> float:
        """Return seconds to wait for a start, from how long the starts seen so far took."""
        if len(self.starts) < ENOUGH_STARTS:
            return START_TIMEOUT_S
        return min(START_TIMEOUT_S, max(SHORTEST_START_S, START_SLACK * max(self.starts)))

    def planned(self, service: ServiceDescription, tree: Tree, *, wait: bool = True) -> PlannedService:
        """Return the service at the tree; raises InconclusiveError where its setup fails there.

        Without `wait` its checkout may go on until `ready` is called.
        """
        if wait:
            self.ready()
        key = f"{service.name}:{tree.revision}:{_overlay_key(tree)}"
        if key in self.kept:
            self.kept.move_to_end(key)
            return self.kept[key][0]
        self.forget(KEPT_TREES)
        self.made += 1
        folder = self.scratch / "trees" / str(self.made)
        worktrees = self._worktrees(service)
        waiting = None if wait else self.waiting
        planned = self.bench.planned(service, tree, worktrees, folder, waiting=waiting)
        self.kept[key] = (planned, worktrees)
        return planned

    def ready(self) -> None:
        """Finish every checkout that goes on; one that fails is forgotten, and told by what `Checkout` raises."""
        while self.waiting:
            checkout = self.waiting.pop()
            try:
                checkout.finish()
            except BaseException:
                for key in [key for key, (one, _) in self.kept.items() if one.worktree == checkout.path]:
                    del self.kept[key]
                raise

    def forget(self, limit: int) -> None:
        """Remove all but the last `limit` worktrees."""
        while len(self.kept) > limit:
            self.ready()
            _, (planned, worktrees) = self.kept.popitem(last=False)
            worktrees.remove(planned.worktree)
            shutil.rmtree(planned.worktree.parent, ignore_errors=True)

    def _worktrees(self, service: ServiceDescription) -> Worktrees:
        source = self.histories.get(service.name)
        if source is None:
            raise UserError(f"service {service.name} has no repository; give one")
        if source not in self.worktrees:
            self.worktrees[source] = Worktrees(source, self.scratch / f"clone-{len(self.worktrees)}")
        return self.worktrees[source]


def assemble(
    services: Sequence[ServiceDescription], parts: PlanParts, tree: Tree, workshop: Workshop,
    suspects: frozenset[str], *, healthy: bool, deadline_s: float, wait: bool = True,
) -> Plan:  # fmt: skip
    """Return the plan of one run. Suspected services run at `tree`, the others at their own revision.

    Without `wait` their checkouts may go on until `workshop.ready` is called.
    """
    # a failure that needs load needs the healthy requests beside it
    requests = [one for one in parts.requests if healthy or parts.way == "load" or one.role != "healthy"]
    planned = []
    for service in services:
        if service.name in parts.stubbed:
            continue
        of = tree if service.name in suspects else Tree(revision=service.revision or service.bad or "HEAD")
        one = workshop.planned(service, of, wait=wait)
        # the worktree is kept, but what is run in it is what this runner's description says
        changed = {
            "environment": _environment(service, tree), "lift_limits": parts.lift_limits, "run": service.run,
            "prepare": service.prepare, "limits": {str(key): value for key, value in service.limits.items()},
        }  # fmt: skip
        planned.append(one.model_copy(update=changed))
    once = _Once(workshop.scratch / "bodies" / "again")
    stubs = {name: [once(one) for one in answers] for name, answers in replayed(parts, requests).items()}
    return Plan(
        services=planned, requests=[once(one) for one in requests], stubs=stubs, concurrency=parts.concurrency,
        repeat=parts.repeat, seed=parts.seed, case=parts.case, deadline_s=deadline_s,
        start_timeout_s=workshop.start_timeout(),
    )  # fmt: skip


class _Once:
    """Gives every request and answer a body file of its own: a play shows a file at one place only."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.seen = folder, Counter[Path]()

    def __call__(self, one: Sent) -> Sent:
        if one.body is None:
            return one
        self.seen[one.body] += 1
        if self.seen[one.body] == 1:
            return one
        self.folder.mkdir(parents=True, exist_ok=True)
        again = self.folder / f"{one.body.parent.name}-{one.body.name}-{self.seen[one.body]}"
        if not again.exists():
            again.hardlink_to(one.body)
        return one.model_copy(update={"body": again})


def deadline(parts: PlanParts, services: int) -> float:
    """Return seconds within which a run must end: starts, and every request at its limit, bounded."""
    times = sum(one.timeout_s * one.repeat * (parts.repeat if one.role != "before" else 1) for one in parts.requests)
    return min(1800.0, 30.0 + services * START_TIMEOUT_S + times / parts.concurrency)


def _environment(service: ServiceDescription, tree: Tree) -> dict[str, str]:
    if tree.label == GOOD and service.good_environment is not None:
        return service.good_environment
    return service.environment


def replayed(parts: PlanParts, requests: Sequence[PlannedRequest]) -> dict[str, list[StubAnswer]]:
    """Return the answers of each stubbed downstream in the order of the requests, then spare ones."""
    sent = [one.id for one in sorted(requests, key=lambda one: one.role != "before")]
    result: dict[str, list[StubAnswer]] = {name: [] for name in parts.stubbed}
    for request in [*sent, *(one for one in parts.stubs if one not in sent)]:
        for name in result:
            answers = parts.stubs.get(request, {}).get(name, [])
            result[name] += [one.model_copy(update={"spare": request not in sent}) for one in answers]
    return result


def _overlay_key(tree: Tree) -> str:
    digest = hashlib.sha256()
    for path in sorted(tree.overlay):
        content = tree.overlay[path]
        digest.update(f"{path}\0{-1 if content is None else len(content)}\0".encode() + (content or b""))
    return digest.hexdigest()[:24]
