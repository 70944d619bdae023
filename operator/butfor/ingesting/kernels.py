"""Reading what the kernel's agent wrote: `kernel.arrow` and its neighbours, up to where they were cut, and bounded.

The files may be hostile: every batch is validated in full before a value of it is used, since Arrow trusts offsets.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from butfor.evidence.kernels import KERNEL, PROCESSES, STACKS
from butfor.ingesting.losses import Losses

MAX_EVENTS = 20_000_000
MAX_PROCESSES = 200_000
MAX_STACKS = 500_000
MAX_BYTES = 6 * 2**30
"""Of one file's columns in memory."""
_NEEDED = {"kernel": ("time_ns", "kind", "pid", "tid"), "processes": ("pid",), "stacks": ("pid", "stack", "frames")}
_PLAIN = {pa.string(): "", pa.bool_(): False}
_BROKEN = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, NotImplementedError, MemoryError)


def read_kernel(folder: Path, losses: Losses) -> tuple[pa.Table, pa.Table, pa.Table]:
    """Events, processes and stacks of a bundle; what cannot be read is a counted Loss, and then they are empty."""
    return (
        _table(folder, "kernel", KERNEL, MAX_EVENTS, losses),
        _table(folder, "processes", PROCESSES, MAX_PROCESSES, losses),
        _table(folder, "stacks", STACKS, MAX_STACKS, losses),
    )


def _table(folder: Path, name: str, schema: pa.Schema, limit: int, losses: Losses) -> pa.Table:
    path = folder / f"{name}.arrow"
    if not path.is_file():
        return schema.empty_table()
    try:
        batches = list(_batches(path, _NEEDED[name], limit, losses))
        return (
            _conformed(pa.Table.from_batches(batches), schema, losses, path.name) if batches else schema.empty_table()
        )
    except _BROKEN:
        losses.add(path.name, "its columns are not those of this file")
        return schema.empty_table()


def _batches(path: Path, needed: tuple[str, ...], limit: int, losses: Losses) -> Iterator[pa.RecordBatch]:
    """Batches up to the first that cannot be read, within the limits."""
    rows = size = 0
    for batch in _whole(path, losses):
        if missing := [name for name in needed if name not in batch.schema.names]:
            losses.add(path.name, f"has no column {missing[0]}")
            return
        left = limit - rows
        rows, size = rows + batch.num_rows, size + batch.nbytes
        yield batch.slice(0, max(left, 0))
        if rows > limit or size > MAX_BYTES:
            losses.add(path.name, f"more than {limit} rows" if rows > limit else f"more than {MAX_BYTES} bytes")
            return


def _whole(path: Path, losses: Losses) -> Iterator[pa.RecordBatch]:
    """Batches that hold what they say; that a stream breaks off is a Loss."""
    try:
        with pa.OSFile(str(path)) as source, pa.ipc.open_stream(source) as stream:
            while True:
                batch = stream.read_next_batch()
                batch.validate(full=True)
                yield batch
    except StopIteration:
        return
    except _BROKEN:
        losses.add(path.name, "is damaged or was cut off; read up to there")


def _conformed(table: pa.Table, schema: pa.Schema, losses: Losses, where: str) -> pa.Table:
    """The columns of the schema, in its order; one that is not there has zeros or empty texts."""
    table = table.unify_dictionaries()
    columns = []
    for field in schema:
        if field.name in table.column_names:
            columns.append(_cast(table[field.name], field.type))
        else:
            losses.add(where, f"has no column {field.name}")
            columns.append(_default(field.type, table.num_rows))
    return pa.table(columns, schema=schema)


def _cast(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if not pa.types.is_dictionary(kind):
        plain = column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
        return plain.cast(kind)
    if column.type == kind and not column.null_count and not _null_texts(column):
        return column
    texts = pc.fill_null(column.cast(pa.string()), "")
    return texts.dictionary_encode().cast(kind)


def _null_texts(column: pa.ChunkedArray) -> bool:
    return any(chunk.dictionary.null_count for chunk in column.chunks)


def _default(kind: pa.DataType, rows: int) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array([""])).cast(kind)
    if pa.types.is_integer(kind):
        return pa.array(np.zeros(rows, np.int8)).cast(kind)
    return pa.nulls(rows, kind) if pa.types.is_nested(kind) else pa.array([_PLAIN[kind]] * rows, kind)
