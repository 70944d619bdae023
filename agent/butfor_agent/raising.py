"""Exceptions seen from outside: hooks CPython where a watched process maps it, and names the frames it saw.

An interpreter whose hook was inlined into its own code (static builds with link-time optimisation) shows nothing.
"""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from butfor_agent import pythons
from butfor_agent.libbpf import BpfError
from butfor_agent.loading import KernelMap, Probe, load

_PATIENCE_S = 2.0
"""How long after its start a process may still be on its way to map its interpreter."""
_NOWHERE = pythons.Place("", 0, "")
_MOST_PLACES = 200_000


class Raising:
    """The gated probe. `problems` says what could not be attached, by binary."""

    def __init__(self, objects: Path, shared: dict[str, KernelMap], constants: dict[str, bytes]) -> None:
        self._probe: Probe = load(objects / "exceptions.bpf.o", shared, constants, {})
        self._hooked: set[tuple[int, int]] = set()
        self._layouts: dict[int, pythons.Layout] = {}
        self._unsettled: dict[int, float] = {}
        self._places: dict[tuple[int, int, int], tuple[bytes, pythons.Place]] = {}
        self.problems: dict[str, str] = {}

    def started(self, pid: int) -> None:
        """A process, or another program in it: its interpreter is looked for until it is mapped."""
        self._layouts.pop(pid, None)
        self._unsettled[pid] = time.monotonic() + _PATIENCE_S

    def ended(self, pid: int) -> None:
        """Nothing of it can be read any more."""
        self._unsettled.pop(pid, None)
        if self._layouts.pop(pid, None) is not None:
            self._probe.maps["pythons"].delete(struct.pack("=I", pid))

    def settle(self) -> None:
        """Look again at those whose interpreter was not mapped yet."""
        for pid in list(self._unsettled):
            self._settle(pid)

    def _settle(self, pid: int) -> None:
        found = pythons.interpreter(pid)
        if found is not None:
            self._hook(pid, found)
        if found is not None or time.monotonic() > self._unsettled[pid]:
            del self._unsettled[pid]

    def _hook(self, pid: int, found: pythons.Interpreter) -> None:
        try:
            status = found.path.stat()
            if (status.st_dev, status.st_ino) not in self._hooked:
                self._probe.attach_at(found.path, found.offset)
                self._hooked.add((status.st_dev, status.st_ino))
            self._probe.maps["pythons"].update(struct.pack("=I", pid), found.layout.packed())
        except (BpfError, OSError) as error:
            self.problems[str(found.path)] = str(error)
            return
        self._layouts[pid] = found.layout

    def places(self, events: NDArray[Any]) -> list[pythons.Place]:
        """Where each exception event was, in their order; each distinct place is read once."""
        keys = np.stack([events["pid"].astype(np.uint64), events["argument"][:, 0], events["argument"][:, 1]], axis=1)
        distinct, which = np.unique(keys, axis=0, return_inverse=True)
        found = [self._place(pid, code, instruction) for pid, code, instruction in distinct.tolist()]
        return [found[at] for at in which.ravel().tolist()]

    def _place(self, pid: int, code: int, instruction: int) -> pythons.Place:
        if pid in self._unsettled:  # an exec was read in this very batch, and its exceptions with it
            self._settle(pid)
        layout = self._layouts.get(pid)
        head = pythons.head(pid, layout, code) if layout else b""
        if layout is None or not head:
            return _NOWHERE
        key = (pid, code, instruction)
        known = self._places.get(key)
        if known is not None and known[0] == head:
            return known[1]
        if len(self._places) >= _MOST_PLACES:
            self._places.clear()
        found = pythons.place(pid, layout, code, instruction) or _NOWHERE
        self._places[key] = (head, found)
        return found

    def close(self) -> None:
        """Detach and free."""
        self._probe.close()
