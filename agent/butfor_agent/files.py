"""The files of one recording. Whatever becomes of the disk or of us, what was written can be read up to there."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa

from butfor_agent import processes
from butfor_agent.tables import SCHEMA
from butfor_agent.windows import Windows

_FAILURES = (OSError, pa.ArrowException, ValueError)


class Files:
    """`kernel.arrow` (Arrow IPC stream, zstd), and every second `processes.arrow` beside it: who is who in it."""

    def __init__(self, path: Path, windows: Windows) -> None:
        self.path, self.windows = path, windows
        self.written = 0
        self.broken = ""
        self._who: list[processes.Process] = []
        options = pa.ipc.IpcWriteOptions(compression="zstd", emit_dictionary_deltas=False)
        self._writer = pa.ipc.new_stream(str(path), SCHEMA, options=options)
        windows.begin(time.time_ns())

    def write(self, batch: pa.RecordBatch) -> None:
        """Write it; where that fails (a full disk, most likely) it is lost, and so is what comes after: counted."""
        if not self.broken:
            try:
                self._writer.write_batch(batch)
                self.written += batch.num_rows
            except _FAILURES as error:
                self.broken = _line(error)
            else:
                return
        self.windows.add("not_stored", batch.num_rows)

    def tick(self, seen: list[processes.Process]) -> None:
        """Once a second: count losses, and write who is known where that changed."""
        self.windows.tick(time.time_ns())
        if seen != self._who and not self.broken:
            self._who = [one.copy() for one in seen]
            try:
                store(processes.table(seen), self.path.with_name("processes.arrow"))
            except _FAILURES as error:
                self.broken = _line(error)

    def close(self) -> None:
        """End the stream."""
        self.windows.tick(time.time_ns())
        try:
            self._writer.close()
        except _FAILURES as error:
            self.broken = self.broken or _line(error)


def store(table: pa.Table, path: Path) -> None:
    """Write a table whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    with pa.ipc.new_stream(str(part), table.schema) as writer:
        writer.write_table(table)
    part.rename(path)


def _line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
