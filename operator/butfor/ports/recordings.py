"""One recording of kernel events around something that runs; whatever goes wrong is its reason, never an error.

recording = Recording(kernel, folder)
recording.begin(); recording.watch(pid); ...; found = recording.end()
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc

from butfor.errors import InfrastructureError
from butfor.evidence.bundles import Loss
from butfor.evidence.recordings import KERNEL_FILES, KernelRecording
from butfor.ports.kernels import Kernel

_RECORDERS = "ff" * 16
"""The trace id under which code that we put into a service does its own work (`butfor_inject.publishing`)."""
_GAP = "the agent ended early; what came after is missing"


class Recording:
    """`folder` is the recording's own: what is in it goes when it begins. Without a kernel nothing is done."""

    def __init__(self, kernel: Kernel | None, folder: Path, reason: str = "") -> None:
        self._kernel, self._folder, self.reason = kernel, folder, reason
        self._opened = False

    def __enter__(self) -> Self:
        """Begin."""
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the agent back, whatever ended the run."""
        self.end(services_only=False)

    @property
    def wanted(self) -> bool:
        """Whether there is an agent to record with, so far as is known."""
        return self._kernel is not None and not self.reason

    def begin(self) -> None:
        """Open the files; from now on what watched processes do is written."""
        if self._kernel is None:
            return
        if not self._kernel.recording.acquire(blocking=False):
            self.reason = "another run was being watched at the same time"
            return
        try:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir(parents=True, mode=0o700)
            self._kernel.open(self._folder)
            self._opened = True
        except (InfrastructureError, OSError) as error:
            self.reason = _line(error)
            self._kernel.recording.release()

    def watch(self, pid: int, service: str = "") -> None:
        """Watch a process and all that it starts; `service` names those that do not name theirs themselves."""
        if self._kernel is None or not self._opened:
            return
        try:
            self._kernel.watch(pid, service)
        except InfrastructureError as error:
            self.reason = _line(error)

    def end(self, *, services_only: bool, until_ns: int = 0) -> KernelRecording:
        """Close the files. `services_only`: rows of processes that belong to no service are left out.

        `until_ns`: what was to be recorded was over then; later rows are left out as well.
        """
        if self._kernel is None or not self._opened:
            return KernelRecording(reason=self.reason, probes=self._kernel.probes if self._kernel else {})
        self._opened = False
        try:
            return self._ended(self._kernel, services_only=services_only, until_ns=until_ns)
        finally:
            self._kernel.recording.release()

    def _ended(self, kernel: Kernel, *, services_only: bool, until_ns: int) -> KernelRecording:
        probes = kernel.probes
        try:
            losses, facts = kernel.close()
            if services_only:
                keep_services(self._folder, until_ns)
        except (InfrastructureError, OSError, pa.ArrowException) as error:
            return self._cut(_line(error), probes, until_ns)
        self.reason = self.reason or (f"it was not written to its end: {facts['broken']}" if facts["broken"] else "")
        if self.reason:
            losses.append(Loss(where="kernel events", count=1, reason=self.reason))
        return KernelRecording(
            folder=self._folder, reason=self.reason, losses=losses, probes=probes, events=facts["events"],
            clock_bound_ns=facts["clock_bound_ns"], clock_steps=facts["clock_steps"],
        )  # fmt: skip

    def _cut(self, reason: str, probes: dict[str, str], until_ns: int) -> KernelRecording:
        """What there is of a recording that was not ended: the rows up to the cut, where who is who was written."""
        alive = self._kernel is not None and self._kernel.alive
        loss = Loss(where="kernel events", count=1, reason=reason if alive else _GAP)
        try:
            last = (self._folder / KERNEL_FILES[0]).stat().st_mtime_ns
            loss = loss.model_copy(update={"start_ns": last, "end_ns": until_ns or time.time_ns()})
            keep_services(self._folder, until_ns)
        except (OSError, pa.ArrowException) as error:
            return KernelRecording(reason=f"{reason}; nothing of it can be read: {_line(error)}", losses=[loss])
        return KernelRecording(folder=self._folder, reason=reason, losses=[loss], probes=probes)


def keep_services(folder: Path, until_ns: int = 0) -> None:
    """Leave out of a recording every row of a process that belongs to no service: what drives them, not they.

    `until_ns`: and events after that time, the ends of processes among them.
    """
    processes = pa.ipc.open_stream((folder / "processes.arrow").read_bytes()).read_all()
    processes = processes.filter(pc.not_equal(processes["service"], ""))
    known = pa.array(processes["pid"].unique().to_pylist(), pa.int64())
    _write(folder / "processes.arrow", processes.schema, iter(_still_running(processes, until_ns).to_batches()))
    for name in KERNEL_FILES:
        if name != "processes.arrow" and (folder / name).exists():
            _keep(folder / name, known, until_ns if name == "kernel.arrow" else 0)


def _still_running(processes: pa.Table, until_ns: int) -> pa.Table:
    """Processes that ended later had not ended then."""
    if not until_ns:
        return processes
    early = pc.less_equal(processes["exit_ns"], until_ns)
    for name in ("exit_ns", "exit_code", "exit_signal"):
        kept = pc.if_else(early, processes[name], pa.scalar(None, processes[name].type))
        processes = processes.set_column(processes.schema.get_field_index(name), processes.schema.field(name), kept)
    return processes


def _keep(path: Path, pids: pa.Array, until_ns: int) -> None:
    with path.open("rb") as file, pa.ipc.open_stream(file) as reader:
        _write(path, reader.schema, (_of(batch, pids, until_ns) for batch in whole_batches(reader)))


def _of(batch: pa.RecordBatch, pids: pa.Array, until_ns: int) -> pa.RecordBatch:
    if "trace_id" not in batch.schema.names:
        return batch.filter(pc.is_in(batch["pid"], value_set=pids))
    ours = pc.equal(batch["trace_id"].cast(pa.string()), _RECORDERS)
    wanted = pc.and_not(pc.is_in(batch["pid"], value_set=pids), ours)
    return batch.filter(pc.and_(wanted, pc.less_equal(batch["time_ns"], until_ns)) if until_ns else wanted)


def _write(path: Path, schema: pa.Schema, batches: Iterator[pa.RecordBatch]) -> None:
    """Whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(str(part), schema, options=options) as writer:
        for batch in batches:
            if len(batch):
                writer.write_batch(batch)
    part.rename(path)


def whole_batches(reader: pa.RecordBatchStreamReader) -> Iterator[pa.RecordBatch]:
    """The batches of a stream, up to its end or to where it was cut."""
    while True:
        try:
            yield reader.read_next_batch()
        except (StopIteration, pa.ArrowException, OSError):
            return


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
