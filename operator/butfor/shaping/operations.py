"""Which normalised operation each span belongs to, and how spans hang together; Arrow columns to numpy.

Rows are put into one canonical order first, so that nothing after depends on the order in which spans came in.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from butfor.evidence import families, names

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_ORDER = ("trace_id", "start_ns", "span_id", "parent_span_id", "end_ns", "service", "name", "kind", "status")
_KEYS = {
    "method": ("http.request.method", "http.method"),
    "route": ("http.route",),
    "target": ("url.path", "http.target", "url.full", "http.url"),
    "statement": ("db.query.text", "db.statement", "db.query.summary"),
    "code": ("http.response.status_code", "http.status_code"),
    "unfinished": ("butfor.unfinished",),
}


@dataclass(frozen=True)
class Operation:
    """A service's operation: `kind` is the span kind or `DB`, `name` has its variable parts replaced."""

    service: str
    kind: str
    name: str

    @property
    def id(self) -> str:
        """The shaped node's id."""
        return f"{self.service}/{self.kind}/{self.name}"


@dataclass(frozen=True)
class Spans:
    """Canonically ordered spans, one row per distinct `trace/span` (n rows).

    `ids` n strings; `start`, `end` ns (an unfinished span ends with its trace); `finished`, `error` bools;
    `parent` row or -1 (the parent is not there, or leads back to the span itself); `operation` index into
    `operations`; `raw` codes that are equal where name, target and statement are equal as written.
    """

    ids: list[str]
    start: Ints
    end: Ints
    finished: Bools
    error: Bools
    parent: Ints
    operation: Ints
    raw: Ints
    operations: list[Operation]
    family: dict[int, str]
    """Per row, the exception family of its (last) exception event."""
    rows: dict[str, int]


def read(table: pa.Table) -> Spans:
    """The spans of a table with (at least) the columns of `evidence.telemetry.SPANS`."""
    table = _canonical(table)
    keys = [f"{t}/{s}" for t, s in zip(*(_texts(table[c]) for c in ("trace_id", "span_id")), strict=True)]
    rows = {key: row for row, key in enumerate(keys)}
    start, end, finished = _times(table)
    text = {key: _lookup(table["attributes"], found) for key, found in _KEYS.items()}
    operation, operations, raw = _operations(table, text)
    family = _event_families(table["events"])
    return Spans(
        ids=keys, start=start, end=end, finished=finished & (_strings(text["unfinished"]) != "true"),
        error=_errors(table, text["code"], family), parent=_parents(table, rows), operation=operation, raw=raw,
        operations=operations, family=family, rows=rows,
    )  # fmt: skip


def _canonical(table: pa.Table) -> pa.Table:
    """Sorted by time within trace; of spans with the same ids the first one with an end is kept."""
    table = table.sort_by([(column, "ascending") for column in _ORDER]).combine_chunks()
    keys = pc.binary_join_element_wise(table["trace_id"], table["span_id"], "/")
    codes = pc.dictionary_encode(keys).combine_chunks().indices.to_numpy(zero_copy_only=False)
    open_ones = pc.is_null(table["end_ns"]).to_numpy(zero_copy_only=False)
    order = np.lexsort((np.arange(len(codes)), open_ones, codes))
    first = order[np.unique(codes[order], return_index=True)[1]] if len(order) else order
    return table.take(pa.array(np.sort(first)))


def _texts(column: Any) -> list[str]:
    return [text or "" for text in column.to_pylist()]


def _strings(column: Any) -> npt.NDArray[np.object_]:
    return np.asarray(pc.fill_null(column, "").to_numpy(zero_copy_only=False), dtype=object)


def _lookup(attributes: Any, keys: Sequence[str]) -> Any:
    found = [pc.map_lookup(attributes, query_key=key, occurrence="first") for key in keys]
    return pc.fill_null(pc.coalesce(*found), "")


def _times(table: pa.Table) -> tuple[Ints, Ints, Bools]:
    start = pc.fill_null(table["start_ns"], 0).to_numpy(zero_copy_only=False).astype(np.int64)
    finished = pc.is_valid(table["end_ns"]).to_numpy(zero_copy_only=False).astype(bool)
    end = pc.coalesce(table["end_ns"], table["start_ns"], pa.scalar(0, pa.int64())).to_numpy(zero_copy_only=False)
    end = np.maximum(end.astype(np.int64), start)  # a negative duration is a finding of correlate, zero here
    if len(end):
        trace = _codes(table["trace_id"])
        latest = np.zeros(int(trace.max()) + 1, dtype=np.int64)
        np.maximum.at(latest, trace, end)
        end = np.where(finished, end, latest[trace])
    return start, end, finished


def _codes(column: Any) -> Ints:
    encoded = pc.dictionary_encode(pc.fill_null(column, ""))
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)


def _errors(table: pa.Table, code: Any, family: dict[int, str]) -> Bools:
    server_error = pc.match_substring_regex(code, r"^5\d\d$").to_numpy(zero_copy_only=False).astype(bool)
    status = pc.equal(pc.fill_null(table["status"], ""), "ERROR").to_numpy(zero_copy_only=False).astype(bool)
    raised = np.zeros(len(status), dtype=bool)
    raised[list(family)] = True
    open_ones = pc.is_null(table["end_ns"]).to_numpy(zero_copy_only=False).astype(bool)
    return np.asarray(server_error | status | raised | open_ones, dtype=bool)


def _parents(table: pa.Table, rows: dict[str, int]) -> Ints:
    pairs = zip(_texts(table["trace_id"]), _texts(table["parent_span_id"]), strict=True)
    parent = np.array([rows.get(f"{t}/{p}", -1) if p else -1 for t, p in pairs], dtype=np.int64)
    return _without_cycles(parent)


def _without_cycles(parent: Ints) -> Ints:
    """Every row that cannot reach a root is on, or hangs from, a cycle: its smallest row becomes the root."""
    parent = parent.copy()
    state = np.zeros(len(parent), dtype=np.int8)  # 0 unseen, 1 on the current way up, 2 reaches a root
    for row in range(len(parent)):
        way = []
        at = row
        while at >= 0 and state[at] == 0:
            state[at] = 1
            way.append(at)
            at = int(parent[at])
        if at >= 0 and state[at] == 1:
            ring = way[way.index(at) :]
            parent[min(ring)] = -1
        state[way] = 2
    return parent


def _operations(table: pa.Table, text: dict[str, Any]) -> tuple[Ints, list[Operation], Ints]:
    columns = [table["service"], table["kind"], table["name"], *(text[k] for k in ("method", "route", "target"))]
    raw = _combined([_codes(c) for c in (*columns, text["statement"])])
    _, first, inverse = np.unique(raw, return_index=True, return_inverse=True)
    picked = [_strings(pc.take(c, pa.array(first))) for c in (*columns, text["statement"])]
    named = [_operation(values) for values in zip(*picked, strict=True)]
    operations = sorted(set(named), key=lambda o: o.id)
    index = {operation: i for i, operation in enumerate(operations)}
    return np.array([index[o] for o in named], dtype=np.int64)[inverse], operations, inverse.astype(np.int64)


def _combined(codes: list[Ints]) -> Ints:
    total = codes[0]
    for more in codes[1:]:
        joined = total * (int(more.max(initial=0)) + 1) + more
        total = np.unique(joined, return_inverse=True)[1].astype(np.int64)  # dense again: no overflow
    return total


def _operation(values: tuple[str, ...]) -> Operation:
    service, kind, text, method, route, target, statement = values
    return Operation(
        service, *names.operation(kind, text, method=method, route=route, target_=target, statement_=statement)
    )


def _event_families(column: Any) -> dict[int, str]:
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    flat = pc.list_flatten(column)
    if not len(flat):
        return {}
    owner = pc.list_parent_indices(column)
    wanted = pc.equal(pc.struct_field(flat, "name"), "exception")
    attributes = pc.filter(pc.struct_field(flat, "attributes"), wanted)
    kinds = (_texts(_lookup(attributes, [key])) for key in ("exception.type", "exception.message"))
    rows = pc.filter(owner, wanted).to_pylist()
    seen = zip(rows, *kinds, strict=True)
    return {row: families.family([kind], message) for row, kind, message in seen}


def most_common(counted: Counter[str]) -> str | None:
    """The most frequent key; the smallest of several."""
    return min(counted, key=lambda key: (-counted[key], key), default=None)
