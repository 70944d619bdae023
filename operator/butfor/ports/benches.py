"""The bench: from a service description and a tree to something that can be started.

Shared by capturing an incident, learning what good answers, and every run of a reproduction.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from butfor.errors import InconclusiveError
from butfor.evidence.plays import PlannedService
from butfor.evidence.runs import Tree
from butfor.evidence.services import ServiceDescription
from butfor.ports.caches import cache_root
from butfor.ports.environments import Environments
from butfor.ports.sandboxes import Sandbox, detect
from butfor.ports.worktrees import Worktrees


@dataclass(frozen=True)
class Bench:
    """The sandbox and the cached environments of this machine."""

    sandbox: Sandbox
    environments: Environments
    ran: Callable[[], None] = lambda: None
    """Told of every run of a tree."""

    @classmethod
    def of_this_machine(cls, python: str | None = None) -> Bench:
        """The strongest sandbox that works; environments made with `python` (default: the one that runs this)."""
        sandbox = detect()
        return cls(sandbox, Environments(cache_root(), sandbox, python or sys.executable))

    def planned(
        self, service: ServiceDescription, tree: Tree, worktrees: Worktrees, folder: Path, *, edge: bool = False
    ) -> PlannedService:
        """Materialise the tree in `folder/<service>` and name the environment it runs in.

        Raises InconclusiveError, with the log's tail, where the setup fails at this tree.
        """
        worktree = worktrees.materialize(tree, folder / service.name)
        environment = self.environments.get(service, worktree, log=folder / f"{service.name}.setup.log")
        if environment.path is None:
            raise InconclusiveError(f"the setup of {service.name} fails at {tree.revision[:12]}: {environment.problem}")
        return PlannedService(
            name=service.name, worktree=worktree, environment_path=environment.path, directory=service.directory,
            prepare=service.prepare, run=service.run, ready=service.ready, environment=service.environment,
            limits={str(key): value for key, value in service.limits.items()}, revision=tree.revision, edge=edge,
        )  # fmt: skip
