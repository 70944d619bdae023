"""Whether the doors into the service opened: server spans where there are connections, else the next door.

The doors, in order: code in the interpreter (injected), the entry started by our own runner (wrapped), a
recording proxy where the port can be moved. What cannot be done is said, with what to do instead.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from butfor.capturing import commands
from butfor.capturing.commands import Command
from butfor.capturing.connections import connected, listener, listening_ports
from butfor.capturing.sightings import Seen

PATIENCE_S = 5.0
"""How long after the first connection a server span may take to appear."""
LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class Advice:
    """What to do now: start `command` instead of the one that runs, or (None) only say `line`."""

    line: str
    command: Command | None = None


class Watch:
    """Looks at one running command; `advice` is asked again and again and answers when something is to be done."""

    def __init__(self, command: Command, spool: Path, *, now: Callable[[], float] = time.monotonic) -> None:
        self.command, self._spool, self._now = command, spool, now
        self.ports: set[int] = set()
        self._first: float | None = None
        self._looked = -LOOK_EVERY_S
        self._before = self._asked = 0
        self._done = False

    def restarted(self, command: Command, seen: Seen) -> None:
        """Begin again with another command; spans made so far do not count."""
        self.command, self._first, self._done = command, None, False
        self._before, self._asked = seen.server_spans, seen.edge.total()

    def advice(self, group: int, seen: Seen) -> Advice | None:
        """None while all is well or too early to say."""
        if self._done or self._now() - self._looked < LOOK_EVERY_S:
            return None
        self._looked = self._now()
        if seen.server_spans > self._before:
            self._done = True
            return None
        self.ports |= listening_ports(group)
        asked = seen.edge.total() > self._asked if self.command.front else connected(self.ports)
        if self._first is None and asked:
            self._first = self._now()
        if self._first is None or self._now() - self._first < PATIENCE_S:
            return None
        self._done = True
        return self._next(group)

    def _next(self, group: int) -> Advice:
        injected = any(self._spool.glob("process-*.json"))
        where = f"port {', '.join(map(str, sorted(self.ports)))} got connections, but no server span was made"
        wrapped = (
            None if injected else commands.wrapped(self.command) or commands.entered(self.command, listener(group))
        )
        if wrapped is not None:
            return Advice(f"{where}: starting its Python again through our own runner", wrapped)
        if self.command.front is not None:
            return Advice("no server span was made inside: the proxy's record stands alone, without code or exceptions")
        for port in sorted(self.ports):
            moved = commands.moved(self.command, port)
            if moved is not None:
                return Advice(f"{where}: starting it again on port {moved.port} behind a proxy on port {port}", moved)
        return Advice(
            f"{where}, and the port is not in the command: write '$PORT' for it, or give --listen PORT --target PORT"
        )
