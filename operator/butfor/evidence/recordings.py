"""What the kernel's agent recorded while something ran: where it is, what is missing of it, and why."""

from __future__ import annotations

from pathlib import Path

from butfor.evidence._base import Frozen
from butfor.evidence.bundles import Loss

KERNEL_FILES = ("kernel.arrow", "stacks.arrow", "processes.arrow")


class KernelRecording(Frozen):
    """`folder` holds `kernel.arrow` and its two neighbours, or is None, and `reason` says why.

    `reason` may also be set where a folder is: the recording then ended before what it recorded did.
    `probes` says per probe `attached`, or why it is not. Times are nanoseconds.
    """

    folder: Path | None = None
    reason: str = ""
    losses: list[Loss] = []
    probes: dict[str, str] = {}
    events: int = 0
    clock_bound_ns: int = 0
    """How far a time of an event may be off from wall time, while nobody set the clock."""
    clock_steps: int = 0
    """How often the wall clock was set meanwhile."""

    @property
    def attached(self) -> list[str]:
        """Names of the probes that recorded."""
        return sorted(name for name, state in self.probes.items() if state == "attached")
