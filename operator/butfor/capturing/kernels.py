"""The kernel's part of a bundle: events, stacks and processes, redacted before they are stored.

Distinct texts are few and events are many: each distinct text is read once, and the columns point at what came of it.
What no rule can read is left out (fails closed): a path that the kernel cut, and more distinct texts than are kept.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

import butfor.evidence.arrows  # noqa: F401 - before pyarrow converts anything
from butfor.capturing.redactions import Redactor
from butfor.evidence.bundles import Loss
from butfor.evidence.recordings import KERNEL_FILES, KernelRecording

MAX_TEXTS = 200_000
CUT_BYTES = 100
"""A path of this length may have been cut by the kernel: a secret at its end would not be recognised."""
_EVENTS, _STACKS, _PROCESSES = KERNEL_FILES
_FREE, _ADDRESSES, _CODE = ("path", "comm"), ("local", "remote"), ("file", "function")
_BROKEN = (pa.ArrowException, OSError, ValueError, KeyError, TypeError)


class KernelPart:
    """One recording on its way into a bundle."""

    def __init__(self, recording: KernelRecording, redactor: Redactor | None) -> None:
        self.recording, self._redactor = recording, redactor
        self._known: dict[tuple[str, str], str] = {}
        self._losses: list[Loss] = []
        self._left_out = 0

    def learn(self) -> None:
        """Let the redactor see every text before anything is written."""
        if self._redactor is None or self.recording.folder is None:
            return
        try:
            for name, text in _texts(self.recording.folder / _EVENTS):
                self._redactor.learn_text(_whole(text) if name == "path" else text)
            for row in self._processes():
                self._redactor.learn_arguments(row["command"])
        except _BROKEN:
            return  # writing meets the same, and says so

    def write(self, folder: Path) -> list[Loss]:
        """Write the files, all of them or none; what is missing, by reason."""
        if self.recording.folder is None:
            return list(self.recording.losses)
        try:
            self._copy(self.recording.folder, folder)
        except _BROKEN as error:
            for name in KERNEL_FILES:
                (folder / name).unlink(missing_ok=True)
            why = (str(error).splitlines() or [""])[0][:200]
            self._losses = [Loss(where="kernel events", count=1, reason=f"they could not be stored: {why}")]
        if self._left_out:
            reason = "texts left out, since there are too many different ones to redact"
            self._losses.append(Loss(where="kernel texts", count=self._left_out, reason=reason))
        return [*self.recording.losses, *self._losses]

    def bpf(self, folder: Path) -> str:
        """The manifest's line: what was live, or why nothing was."""
        if not (folder / _EVENTS).exists():
            return f"not captured: {self.recording.reason}" if self.recording.reason else "not captured"
        absent = [f"{name}: {why}" for name, why in self.recording.probes.items() if why != "attached"]
        return "; ".join([f"live: {', '.join(self.recording.attached)}", *(f"not attached: {one}" for one in absent)])

    def clock(self) -> str:
        """How far times of events can be trusted."""
        steps = self.recording.clock_steps
        stepped = f"; the wall clock was set {steps} times meanwhile" if steps else ""
        bound = self.recording.clock_bound_ns
        within = f"within {bound} ns" if bound else "how closely is not known"
        return f"CLOCK_MONOTONIC as CLOCK_REALTIME, {within}{stepped}"

    def _copy(self, source: Path, target: Path) -> None:
        for name in KERNEL_FILES:
            if self._redactor is None and (source / name).exists():
                shutil.copyfile(source / name, target / name)
        if self._redactor is None:
            return
        _rewrite(source / _EVENTS, target / _EVENTS, self._event_batch)
        if (source / _STACKS).exists():
            _rewrite(source / _STACKS, target / _STACKS, self._stack_batch)
        _rewrite(source / _PROCESSES, target / _PROCESSES, self._process_batch)

    def _event_batch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        for name in (*_FREE, *_ADDRESSES, *_CODE):
            column = batch.column(name)
            values = pa.array([self._text(name, value) for value in column.dictionary.to_pylist()], pa.string())
            written = pa.DictionaryArray.from_arrays(column.indices, values)
            batch = batch.set_column(batch.schema.get_field_index(name), batch.schema.field(name), written)
        return batch

    def _stack_batch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        rows = batch.to_pylist()
        for row in rows:
            for frame in row["frames"] or []:
                for name in ("module", "function"):
                    frame[name] = self._text(name, frame[name])
        return pa.RecordBatch.from_pylist(rows, schema=batch.schema)

    def _process_batch(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        rows = batch.to_pylist()
        assert self._redactor is not None
        for row in rows:
            row["command"] = self._redactor.arguments(row["command"] or [])
            row["executable"] = self._text("module", row["executable"] or "")
        return pa.RecordBatch.from_pylist(rows, schema=batch.schema)

    def _processes(self) -> list[dict[str, Any]]:
        assert self.recording.folder is not None
        with pa.ipc.open_stream((self.recording.folder / _PROCESSES).read_bytes()) as reader:
            found: list[dict[str, Any]] = reader.read_all().to_pylist()
        return found

    def _text(self, name: str, value: str | None) -> str:
        if not value:
            return ""
        key = (name, value)
        if key not in self._known:
            if len(self._known) >= MAX_TEXTS:
                self._left_out += 1
                return ""
            self._known[key] = self._masked(name, value)
        return self._known[key]

    def _masked(self, name: str, value: str) -> str:
        assert self._redactor is not None
        if name in _ADDRESSES:
            return self._redactor.address(value)
        if name in _FREE:
            return self._redactor.text(_whole(value) if name == "path" else value)
        return self._redactor.text(value, in_code=True)


def _whole(path: str) -> str:
    """A path without a last part that may be cut."""
    return path if len(path.encode("utf-8", "replace")) < CUT_BYTES else path.rpartition("/")[0] + "/"


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    """Each distinct text of each column that a service can write into, once per batch."""
    for batch in _batches(path):
        for name in _FREE:
            yield from ((name, value) for value in batch.column(name).dictionary.to_pylist() if value)


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    with path.open("rb") as file, pa.ipc.open_stream(file) as reader:
        yield from reader


def _rewrite(source: Path, target: Path, change: Any) -> None:
    with source.open("rb") as file, pa.ipc.open_stream(file) as reader:
        options = pa.ipc.IpcWriteOptions(compression="zstd")
        with pa.ipc.new_stream(str(target), reader.schema, options=options) as writer:
            for batch in reader:
                writer.write_batch(change(batch))
