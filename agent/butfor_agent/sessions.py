"""One running agent: probes are attached, the ring is read, processes are learned, record batches are written.

A record is copied out of the ring, turned into columns and written; nothing is kept per event, so memory stays flat.
"""

from __future__ import annotations

import os
import struct
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from butfor_agent import attaching, calls, processes, slots
from butfor_agent.clocks import Clock
from butfor_agent.files import Files
from butfor_agent.layouts import LayoutError, TypeTable
from butfor_agent.libbpf import BpfError
from butfor_agent.loading import KernelMap, Probe
from butfor_agent.raising import Raising
from butfor_agent.rings import Ring
from butfor_agent.stacks import Stacks
from butfor_agent.tables import Tables
from butfor_agent.windows import Windows

_STEP_S = 0.01
_MOST_ENDED, _MOST_ALIVE = 100_000, 16_384
_TURN_S, _LAST_S = 0.25, 5.0
_BATCH = 1 << 15
_EXACT = "thread record"
_LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class Settings:
    """Thresholds and sizes. `ring_bytes` is a power of two."""

    slow_ns: int = 50_000_000
    off_cpu_ns: int = 10_000_000
    ring_bytes: int = 64 << 20
    exceptions: bool = False
    ways: tuple[str, ...] = attaching.WAYS
    """Of attaching, in the order in which they are tried."""

    def constants(self, kinds: dict[str, int]) -> dict[str, bytes]:
        """The probes' `const volatile` values."""
        return {
            "call_kinds": calls.kind_table(kinds),
            "close_call": struct.pack("=I", calls.numbers()["close"]),
            "slow_ns": struct.pack("=Q", self.slow_ns),
            "off_cpu_ns": struct.pack("=Q", self.off_cpu_ns),
        }


@dataclass
class Status:
    """What became of each probe: `attached`, or why not."""

    probes: dict[str, str] = field(default_factory=dict)
    ways: dict[str, str] = field(default_factory=dict)
    """By which ways those that are attached came, and why not by an earlier one."""

    @property
    def attached(self) -> list[str]:
        """Names of the probes that are attached."""
        return [name for name, state in self.probes.items() if state == "attached"]


class Session:
    """Attaches what can be attached. Raises BpfError where nothing can be."""

    def __init__(self, objects: Path, names: tuple[str, ...], settings: Settings) -> None:
        self.status = Status()
        self._probes: list[Probe] = []
        self._shared: dict[str, KernelMap] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        types = self._types(objects, names)
        self._kinds = types.constants("butfor_kind")
        constants = settings.constants(self._kinds)
        for name in names:
            self._attach(objects / f"{name}.bpf.o", constants, settings)
        if not self._probes:
            raise BpfError(
                "no probe could be attached: " + "; ".join(f"{k}: {v}" for k, v in self.status.probes.items())
            )
        self._raising = self._gated(objects, constants) if settings.exceptions else None
        self._ring = Ring(self._shared["events"], types.dtype("butfor_event"))
        self._tables = Tables(self._kinds, types.constants("butfor_join"), types.constants("butfor_context_miss"))
        self._loss_names = types.constants("butfor_loss")
        self._miss_names = types.constants("butfor_context_miss")
        self.clock = Clock()
        self.clock_steps = 0
        self.stacks = Stacks(self._shared["stacks"])
        self.processes: dict[int, processes.Process] = {}
        self._ended: list[processes.Process] = []
        self._files: Files | None = None
        self._thread = threading.Thread(target=self._run, name="ring", daemon=True)
        self._thread.start()

    @staticmethod
    def _types(objects: Path, names: tuple[str, ...]) -> TypeTable:
        try:
            return TypeTable.of_object(objects / f"{names[0]}.bpf.o")
        except LayoutError as error:
            raise BpfError(str(error)) from error

    def _attach(self, path: Path, constants: dict[str, bytes], settings: Settings) -> None:
        name, sizes = path.name.removesuffix(".bpf.o"), {"events": settings.ring_bytes}
        try:
            probe, self.status.ways[name] = attaching.attached(path, self._shared, constants, sizes, settings.ways)
        except BpfError as error:
            self.status.probes[name] = str(error)
            return
        self._probes.append(probe)
        self.status.probes[name] = "attached"
        for known, kernel_map in probe.maps.items():
            if "." not in known:  # .rodata and .bss are each object's own
                self._shared.setdefault(known, kernel_map)

    def _gated(self, objects: Path, constants: dict[str, bytes]) -> Raising | None:
        try:
            found = Raising(objects, self._shared, constants)
        except BpfError as error:
            self.status.probes["exceptions"] = str(error)
            return None
        self.status.probes["exceptions"] = "attached"
        return found

    def watch(self, pid: int, service: str = "") -> None:
        """Watch a process and all that it will start. Its threads and children of before are added too.

        `service` is whose they are, where they do not say themselves. Raises BpfError where there is no such process.
        """
        for one in [pid, *_descendants(pid)]:
            self._shared["targets"].update(struct.pack("=I", one), struct.pack("=I", 1))
            if not Path(f"/proc/{one}").exists():
                self.forget(one)  # nobody will tell of its end
                if one == pid:
                    raise BpfError(f"there is no process {pid}: it may have ended just now")
                continue
            with self._lock:
                known = self._see(one, one, 0)
                known.service = known.service or service
                self._resolve(one, quiet=True)

    def forget(self, pid: int) -> None:
        """Watch it no more."""
        self._shared["targets"].delete(struct.pack("=I", pid))

    def open(self, path: Path) -> None:
        """Write what comes from now on to a file, readable up to where it was cut off."""
        with self._lock:
            self._drain()
            self.stacks.clear()
            self._ended.clear()
            self._files = Files(path, Windows(self.losses))

    def close(self) -> tuple[Files, list[processes.Process]]:
        """End the file; what became of it, and who was seen while it was open. Raises BpfError where none is open."""
        with self._lock:
            until = time.monotonic() + _LAST_S
            while self._ring.waiting() and time.monotonic() < until:
                self._drain()
            files, self._files = self._files, None
            if files is None:
                raise BpfError("nothing is open")
            files.close()
            return files, [*self._ended, *self.processes.values()]

    def losses(self) -> dict[str, int]:
        """What was not delivered, by reason, since the start."""
        return self._counted("losses", self._loss_names, "LOSS_")

    def misses(self) -> dict[str, int]:
        """Events whose thread had no readable context, by reason, since the start."""
        return self._counted("misses", self._miss_names, "MISS_")

    def _counted(self, name: str, names: dict[str, int], prefix: str) -> dict[str, int]:
        counts = self._shared[name].per_cpu_counts()
        return {key.removeprefix(prefix).lower(): counts[at] for key, at in names.items() if at < len(counts)}

    def stop(self) -> None:
        """Detach everything and free it."""
        self._stop.set()
        self._thread.join()
        for probe in reversed(self._probes):
            probe.detach()
        with self._lock:
            self._drain()
        self._ring.close()
        if self._raising is not None:
            self._raising.close()
        for probe in reversed(self._probes):
            probe.close()

    def _run(self) -> None:
        looked = time.monotonic()
        while not self._stop.wait(_STEP_S):
            with self._lock:
                self._drain()
                if time.monotonic() - looked < _LOOK_EVERY_S:
                    continue
                looked = time.monotonic()
                self.clock_steps += self.clock.tick()
                self._prune()
                self.stacks.refresh(self.processes)
                if self._files is not None:
                    self._files.tick([*self._ended, *self.processes.values()])

    def _drain(self) -> None:
        if self._raising is not None:
            self._raising.settle()
        until = time.monotonic() + _TURN_S
        while len(events := self._ring.read(_BATCH)):
            self._learn(events)
            if self._files is not None:
                raised = np.flatnonzero(events["kind"] == self._kinds["KIND_EXCEPTION"])
                places = self._raising.places(events[raised]) if self._raising is not None else []
                self._files.write(self._tables.batch(events, self.clock, raised, places))
            # a flood has no end: others want their turn. And to read the ring's last record again and again as it grows
            # would cost more, here and where it is written, than to come back for many
            if len(events) < _BATCH or time.monotonic() > until:
                return

    def _learn(self, events: NDArray[Any]) -> None:
        """The few records that change what we know, in order; then who and which stack is new."""
        rare = [self._kinds[f"KIND_{name}"] for name in ("FORK", "EXEC", "EXIT", "CONTEXT_PUBLISHED")]
        for record in events[np.isin(events["kind"], rare)]:
            self._change(record)
        seen, first = np.unique(events["pid"], return_index=True)
        for pid, at in zip(seen.tolist(), first.tolist(), strict=True):
            if pid not in self.processes and events["kind"][at] != self._kinds["KIND_EXIT"]:
                self._see(pid, int(events["inner_pid"][at]), int(events["started_ns"][at]))
        stacked = events[events["user_stack"] >= 0]
        for pid, stack in set(zip(stacked["pid"].tolist(), stacked["user_stack"].tolist(), strict=True)):
            self.stacks.see(pid, stack)
        for pid in events["pid"][events["kind"] == self._kinds["KIND_EXIT"]].tolist():
            self.stacks.forget(pid)  # only now: the stack of what killed it is among these

    def _change(self, record: Any) -> None:
        pid, kind = int(record["pid"]), record["kind"]
        process = self._see(pid, int(record["inner_pid"]), int(record["started_ns"]))
        if kind == self._kinds["KIND_FORK"]:
            self.processes[int(record["value"])] = process.child(int(record["value"]))
            self.stacks.learn(int(record["value"]), like=pid)
        elif kind == self._kinds["KIND_EXEC"]:
            self.stacks.forget(pid)
            process.became(record["path"].decode("utf-8", "replace"))
            if self._raising is not None:
                self._raising.started(pid)
        elif kind == self._kinds["KIND_CONTEXT_PUBLISHED"]:
            self._resolve(pid)
            self.stacks.learn(pid)
        else:
            at = self.clock.wall(np.array([record["time_ns"]], np.uint64))
            process.ended(int(record["value"]), int(at[0]))
            if self._raising is not None:
                self._raising.ended(pid)
            self._end(self.processes.pop(pid))

    def _end(self, process: processes.Process) -> None:
        if len(self._ended) < _MOST_ENDED:
            self._ended.append(process)
        elif self._files is not None:
            self._files.windows.add("processes_left_out", 1)

    def _prune(self) -> None:
        """Processes whose end was lost in a flood are not kept for ever."""
        if len(self.processes) > _MOST_ALIVE:
            for pid in [pid for pid in self.processes if not Path(f"/proc/{pid}").exists()]:
                self._end(self.processes.pop(pid))

    def _see(self, pid: int, inner_pid: int, started_ns: int) -> processes.Process:
        known = self.processes.get(pid)
        if known is None or (started_ns and known.started_ns and known.started_ns != started_ns):
            known = self.processes[pid] = processes.Process(pid, inner_pid, started_ns)
            known.look()
            if self._raising is not None:
                self._raising.started(pid)
        if started_ns and not known.started_ns:
            known.started_ns, known.inner_pid = started_ns, inner_pid
        return known

    def _resolve(self, pid: int, *, quiet: bool = False) -> None:
        try:
            slot = slots.resolve(pid)
        except slots.SlotError as error:
            # a child inherits its slot; that it is gone by now takes nothing away
            if not quiet and self.processes[pid].context != _EXACT:
                self.processes[pid].context = error.reason.value
            return
        self._shared["slots"].update(struct.pack("=I", pid), slot.packed())
        self.processes[pid].context = _EXACT


def _descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            try:
                fields = Path(entry.path, "stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found
