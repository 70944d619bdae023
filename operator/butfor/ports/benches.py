"""The bench: from a service description and a tree to something that can be started.

Shared by capturing an incident, learning what good answers, and every run of a reproduction.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from butfor.errors import InconclusiveError, InfrastructureError
from butfor.evidence.plays import PlannedService
from butfor.evidence.runs import Tree
from butfor.evidence.services import ServiceDescription
from butfor.ports.caches import cache_root
from butfor.ports.environments import Environments
from butfor.ports.interpreters import minor, of_version
from butfor.ports.kernels import Kernel
from butfor.ports.sandboxes import Sandbox, detect
from butfor.ports.worktrees import Checkout, Worktrees


@dataclass(frozen=True)
class Bench:
    """The sandbox and the cached environments of this machine."""

    sandbox: Sandbox
    environments: Environments
    chosen: bool = False
    """The interpreter was asked for: it stays, whatever a capture says."""
    ran: Callable[[], None] = lambda: None
    """Told of every run of a tree."""
    kernel: Kernel | None = None
    """The agent that watches what runs, where there is one; `kernel_reason` says why there is none."""
    kernel_reason: str = ""

    @classmethod
    def of_this_machine(cls, python: str | None = None) -> Bench:
        """The strongest sandbox that works; environments made with `python` (default: the one that runs this)."""
        sandbox = detect()
        return cls(sandbox, Environments(cache_root(), sandbox, python or sys.executable), python is not None)

    @contextmanager
    def watched(self, *, exceptions: bool = False) -> Iterator[Bench]:
        """The same bench with one agent for all its runs, until the context ends; without one where none can be had."""
        try:
            kernel = Kernel.start(exceptions=exceptions)
        except InfrastructureError as error:
            yield replace(self, kernel_reason=str(error))
            return
        with kernel:
            yield replace(self, kernel=kernel)

    def suited(self, captured: str | None) -> tuple[Bench, str]:
        """A bench with the Python that a service was captured under ("cpython 3.12.1 ..."), where there is one here.

        The text says what differs where there is none; "" where nothing does, or nothing is known.
        """
        wanted, ours = minor(captured), minor(self.environments.interpreter.version)
        if not wanted or wanted == ours:
            return self, ""
        python = None if self.chosen else of_version(wanted)
        if python is None:
            return self, f"the service was captured under CPython {wanted}, its runs are under {ours} (--python)"
        return replace(self, environments=Environments(self.environments.cache, self.sandbox, python)), ""

    def planned(
        self, service: ServiceDescription, tree: Tree, worktrees: Worktrees, folder: Path, *, edge: bool = False,
        waiting: list[Checkout] | None = None,
    ) -> PlannedService:  # fmt: skip
        """Materialise the tree in `folder/<service>` and name the environment it runs in.

        A checkout that may go on is added to `waiting`, for the caller to finish.
        Raises InconclusiveError, with the log's tail, where the setup fails at this tree.
        """
        checkout = worktrees.begin(tree, folder / service.name)
        if waiting is None:
            checkout.finish()
        else:
            waiting.append(checkout)
        log = folder / f"{service.name}.setup.log"
        environment = self.environments.get(service, checkout.path, log=log, ready=checkout.finish)
        if environment.path is None:
            raise InconclusiveError(f"the setup of {service.name} fails at {tree.revision[:12]}: {environment.problem}")
        return PlannedService(
            name=service.name, worktree=checkout.path, environment_path=environment.path, directory=service.directory,
            prepare=service.prepare, run=service.run, ready=service.ready, environment=service.environment,
            limits={str(key): value for key, value in service.limits.items()}, revision=tree.revision, edge=edge,
        )  # fmt: skip
