"""Reading a bundle's OTLP/JSON lines and payload index into Arrow tables, bounded in memory and never crashing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from butfor.errors import UserError
from butfor.evidence.bundles import Bundle
from butfor.evidence.telemetry import LOGS, SPANS, Telemetry
from butfor.ingesting.attributes import MalformedError, items
from butfor.ingesting.kernels import read_kernel
from butfor.ingesting.losses import Losses
from butfor.ingesting.payloads import read_payloads
from butfor.ingesting.records import Resource, log_row, resource_of, span_row

MAX_LINE_BYTES = 32 * 2**20
"""A line is one export request; Collectors send at most a few MiB."""
MAX_SPANS = 3_000_000
MAX_LOGS = 3_000_000
CHUNK_ROWS = 4096
"""Rows that are held as Python objects before they become Arrow."""

Row = tuple[Any, ...]
Convert = Callable[[Any, Any, Resource], Row]


def read(bundle: Bundle) -> Telemetry:
    """All spans and logs of `*.otlp.jsonl` (by content, whatever the name) and the payload index.

    What cannot be read is a counted Loss. Raises UserError where nothing in the bundle is telemetry.
    """
    losses = Losses()
    spans, logs = Columns(SPANS, MAX_SPANS, losses), Columns(LOGS, MAX_LOGS, losses)
    seen = 0
    for path in sorted(path for path in bundle.path.glob("*.otlp.jsonl") if path.is_file()):
        for where, document in _documents(path, losses):
            seen += _add(document, where, spans, logs, losses)
    payloads = read_payloads(bundle.path / "payloads", losses)
    if not seen and not payloads and losses.counted:
        raise UserError(f"nothing in {bundle.path} is OTLP/JSON: {losses.summary()}; give a folder of OTLP lines")
    kernel, processes, stacks = read_kernel(bundle.path, losses)
    recorded = bundle.manifest.losses if bundle.manifest else []
    found = [*recorded, *losses.listed()]
    return Telemetry(bundle, spans.table(), logs.table(), payloads, found, kernel, processes, stacks)


class Columns:
    """Rows that become an Arrow table chunk by chunk, at most `limit` of them."""

    def __init__(self, schema: pa.Schema, limit: int, losses: Losses) -> None:
        self.schema, self.limit, self.losses = schema, limit, losses
        self.rows: list[Row] = []
        self.batches: list[pa.RecordBatch] = []
        self.count = 0

    def add(self, row: Row, where: str) -> None:
        """Take a row in the schema's order; beyond the limit it is a loss."""
        if self.count >= self.limit:
            self.losses.add(where, f"more than {self.limit} records")
            return
        self.count += 1
        self.rows.append(row)
        if len(self.rows) >= CHUNK_ROWS:
            self._flush()

    def _flush(self) -> None:
        columns = zip(*self.rows, strict=True)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, self.schema, strict=True)]
        self.batches.append(pa.RecordBatch.from_arrays(arrays, schema=self.schema))
        self.rows = []

    def table(self) -> pa.Table:
        """Everything that was added, in the order it came."""
        if self.rows:
            self._flush()
        return pa.Table.from_batches(self.batches, self.schema)


def _documents(path: Path, losses: Losses) -> Iterator[tuple[str, dict[str, Any]]]:
    # a name need not be UTF-8, and what is said of it must be
    name = os.fsencode(path.name).decode("utf-8", "backslashreplace")
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE_BYTES):
            if not line.endswith(b"\n") and len(line) == MAX_LINE_BYTES:
                _skip_rest(file.readline)
                losses.add(name, f"a line is longer than {MAX_LINE_BYTES} bytes")
                continue
            if line.strip():
                yield from _document(name, line, losses)


def _skip_rest(readline: Callable[[int], bytes]) -> None:
    while (rest := readline(1 << 20)) and not rest.endswith(b"\n"):
        continue


def _document(where: str, line: bytes, losses: Losses) -> Iterator[tuple[str, dict[str, Any]]]:
    try:
        document = json.loads(line)
    except (ValueError, RecursionError):
        losses.add(where, "a line is no JSON" if line.endswith(b"\n") else "the last line is cut off")
        return
    if isinstance(document, dict):
        yield where, document
    else:
        losses.add(where, "a line is no OTLP/JSON object")


def _add(document: dict[str, Any], where: str, spans: Columns, logs: Columns, losses: Losses) -> int:
    """Take one line's records; returns 1 if it was an OTLP document, even an empty one."""
    for group in items(document, "resourceSpans"):
        _add_group(group, ("scopeSpans", "spans"), where, spans, span_row)
    for group in items(document, "resourceLogs"):
        _add_group(group, ("scopeLogs", "logRecords"), where, logs, log_row)
    known = bool(document.keys() & {"resourceSpans", "resourceLogs", "resourceMetrics", "resourceProfiles"})
    if not known:
        losses.add(where, "a line holds neither spans, logs nor metrics")
    return int(known)


def _add_group(group: Any, keys: tuple[str, str], where: str, columns: Columns, convert: Convert) -> None:
    resource = resource_of(group)
    for scope in items(group, keys[0]):
        for record in items(scope, keys[1]):
            try:
                row = convert(record, scope, resource)
            except MalformedError as error:
                columns.losses.add(where, str(error))
            else:
                columns.add(row, where)
