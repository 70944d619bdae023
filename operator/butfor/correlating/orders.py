"""Order of spans: sorting, parents, depth, and findings about orders that cannot be; vectorised, no repair."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from butfor.evidence.timelines import Finding, FindingKind

MAX_FINDINGS = 1000
"""Listed per kind; how many more there are is said in one last finding."""

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Ordered:
    """Spans in order, one row per span id, with numpy columns that the other modules share.

    `parent` is the parent's row or -1; `open_end` has the trace's last known time for a span without end;
    `ids` are `trace/span`.
    """

    table: pa.Table
    ids: pa.Array
    parent: Rows
    depth: Rows
    start: Rows
    end: Rows
    unfinished: npt.NDArray[np.bool_]
    trace: Rows
    findings: list[Finding]

    def id(self, row: int) -> str:
        """`trace/span` of a row."""
        return str(self.ids[int(row)].as_py())


def order(spans: pa.Table) -> Ordered:
    """Sort spans by their trace's first start, then start, then end (longest first), then id.

    Of several spans with one id the finished and longest is kept; that is a finding, unless the others only say
    that the span had begun. A parent cycle is cut for `depth` only, at its first span.
    """
    table = spans.combine_chunks()
    table = _sorted(table)
    table, findings = _single(table)
    ids = _ids(table, "span_id")
    parent, missing = _parents(table, ids)
    start, end, unfinished, trace = _times(table)
    parent_kept, cycle_findings = _uncycled(parent, ids)
    findings += cycle_findings
    depth = _depths(parent_kept)
    remote = _remote(table, missing, start, trace)
    findings += _missing(ids, table, missing & ~remote)
    findings += _impossible(table, ids, parent_kept, start, end, unfinished)
    table = table.append_column("depth", pa.array(depth, pa.int32()))
    table = table.append_column("parent_row", pa.array(parent_kept))
    table = table.append_column("remote_parent", pa.array(remote))
    return Ordered(table, ids, parent_kept, depth, start, end, unfinished, trace, findings)


def _sorted(table: pa.Table) -> pa.Table:
    first = table.group_by("trace_id").aggregate([("start_ns", "min")])
    at = pc.index_in(table["trace_id"], value_set=first["trace_id"].combine_chunks())
    keyed = pa.table({
        "first": first["start_ns_min"].take(at), "trace_id": table["trace_id"], "start_ns": table["start_ns"],
        "end": pc.negate(pc.fill_null(table["end_ns"], 2**62)), "span_id": table["span_id"], "name": table["name"],
        "service": table["service"], "parent": table["parent_span_id"],
    })  # fmt: skip
    keys = [(name, "ascending") for name in keyed.column_names]
    return table.take(pc.sort_indices(keyed, sort_keys=keys)).combine_chunks()


def _ids(table: pa.Table, column: str) -> pa.Array:
    joined = pc.binary_join_element_wise(table["trace_id"], table[column], "/")
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined


def _codes(ids: pa.Array) -> Rows:
    return np.asarray(ids.dictionary_encode().indices, dtype=np.int64)


def _single(table: pa.Table) -> tuple[pa.Table, list[Finding]]:
    """One row per span id: finished before unfinished, then the longest, which is the first in order."""
    ids = _ids(table, "span_id")
    codes = _codes(ids)
    finished = np.asarray(pc.is_valid(table["end_ns"]))
    best = np.lexsort((np.arange(len(codes)), ~finished, codes))
    _, first = np.unique(codes[best], return_index=True)
    keep = np.sort(best[first])
    if len(keep) == len(codes):
        return table, []
    kept_finished = np.zeros(len(codes), dtype=bool)
    kept_finished[codes[keep]] = finished[keep]
    dropped = np.setdiff1d(np.arange(len(codes)), keep)
    real = dropped[~(kept_finished[codes[dropped]] & ~finished[dropped])]
    found = _listed(
        "duplicate_span", ((ids[int(i)].as_py(),) for i in real), "seen more than once; one was kept", len(real)
    )
    return table.take(pa.array(keep)).combine_chunks(), found


def _parents(table: pa.Table, ids: pa.Array) -> tuple[Rows, npt.NDArray[np.bool_]]:
    """Row of each span's parent or -1, and which parents are named but not there."""
    wanted = _ids(table, "parent_span_id")
    found = np.asarray(pc.fill_null(pc.index_in(wanted, value_set=ids), -1), dtype=np.int64)
    named = np.asarray(pc.not_equal(table["parent_span_id"], ""))
    found[~named] = -1
    return found, named & (found < 0)


def _times(table: pa.Table) -> tuple[Rows, Rows, npt.NDArray[np.bool_], Rows]:
    start = np.asarray(table["start_ns"], dtype=np.int64)
    unfinished = np.asarray(pc.is_null(table["end_ns"]))
    end = np.asarray(pc.fill_null(table["end_ns"], -1), dtype=np.int64).copy()
    trace = _codes(table["trace_id"].combine_chunks())
    last = np.zeros(trace.max(initial=-1) + 1, dtype=np.int64)
    np.maximum.at(last, trace, np.maximum(start, end))
    end[unfinished] = last[trace[unfinished]]
    return start, end, unfinished, trace


def _jump(rows: Rows) -> Iterator[Rows]:
    """Rows after 2, 4, 8 ... steps; -1 stays -1."""
    for _ in range(max(1, len(rows).bit_length())):
        rows = np.where(rows >= 0, rows[rows], -1)
        yield rows


def _uncycled(parent: Rows, ids: pa.Array) -> tuple[Rows, list[Finding]]:
    """Parents with each cycle cut at its first row, and a finding per cycle."""
    far = parent
    for far in _jump(parent):
        if (far < 0).all():
            return parent, []
    on_cycle = np.unique(far[far >= 0])
    parent, findings = parent.copy(), []
    left = set(on_cycle.tolist())
    while left:
        first = min(left)
        members, row = [first], int(parent[first])
        while row != first:
            members.append(row)
            row = int(parent[row])
        left.difference_update(members)
        parent[first] = -1
        findings.append(Finding(kind="cycle", evidence=[str(ids[i].as_py()) for i in members[:100]],
                                detail=f"{len(members)} spans are each other's parents"))  # fmt: skip
    return parent, findings[:MAX_FINDINGS]


def _depths(parent: Rows) -> Rows:
    """Steps to the root, by pointer doubling."""
    steps, rows = (parent >= 0).astype(np.int64), parent
    for _ in range(max(1, len(parent).bit_length())):
        if (rows < 0).all():
            break
        safe = np.where(rows >= 0, rows, 0)
        steps = steps + np.where(rows >= 0, steps[safe], 0)
        rows = np.where(rows >= 0, rows[safe], -1)
    return steps


def _remote(table: pa.Table, missing: npt.NDArray[np.bool_], start: Rows, trace: Rows) -> npt.NDArray[np.bool_]:
    """Spans whose parent is a client that was never captured: requests from outside that brought a `traceparent`.

    A request that another captured service may have sent (one with a span in the trace before it) is not among
    them: there the sender's span was lost, which is a finding.
    """
    service = _codes(table["service"].combine_chunks())
    first = np.lexsort((start, trace))
    traces, at = np.unique(trace[first], return_index=True)
    leader = np.zeros(trace.max(initial=-1) + 1, dtype=np.int64)
    leader[traces] = first[at]
    ahead = start[leader[trace]]
    rest = service != service[leader[trace]]
    follower = np.full(len(leader), np.iinfo(np.int64).max)
    np.minimum.at(follower, trace[rest], start[rest])
    sender = np.where(rest, ahead, follower[trace])
    inbound = np.asarray(pc.is_in(table["kind"], value_set=pa.array(["SERVER", "CONSUMER"])))
    remote: npt.NDArray[np.bool_] = missing & inbound & ~(sender < start)
    return remote


def _missing(ids: pa.Array, table: pa.Table, missing: npt.NDArray[np.bool_]) -> list[Finding]:
    rows = np.flatnonzero(missing)
    names = table["parent_span_id"].combine_chunks()
    pairs = ((ids[int(i)].as_py(), f"{ids[int(i)].as_py().split('/')[0]}/{names[int(i)].as_py()}") for i in rows)
    return _listed("missing_parent", pairs, "its parent was not captured", len(rows))


def _impossible(
    table: pa.Table, ids: pa.Array, parent: Rows, start: Rows, end: Rows, unfinished: npt.NDArray[np.bool_]
) -> list[Finding]:
    has, above = parent >= 0, np.where(parent >= 0, parent, 0)
    service = _codes(table["service"].combine_chunks())
    early = has & (start < start[above])
    late = has & ~unfinished[above] & (start > end[above])
    remote = has & (service != service[above])
    fits = (end - start) <= (end[above] - start[above])
    skewed = remote & (early | late | (end > end[above])) & fits & ~unfinished & ~unfinished[above]
    rules: list[tuple[FindingKind, npt.NDArray[np.bool_], str]] = [
        ("negative_duration", ~unfinished & (end < start), "ends before it starts"),
        ("unfinished", unfinished, "was begun and never ended"),
        ("clock_skew", skewed, "lies outside its caller though it is shorter: two clocks differ"),
        ("child_before_parent", early & ~skewed, "starts before its parent"),
        ("child_after_parent", late & ~skewed, "starts after its parent ended"),
    ]
    findings: list[Finding] = []
    for kind, mask, detail in rules:
        rows, alone = np.flatnonzero(mask), kind in ("negative_duration", "unfinished")
        evidence = (
            (ids[int(i)].as_py(),) if alone else (ids[int(i)].as_py(), ids[int(parent[i])].as_py()) for i in rows
        )
        findings += _listed(kind, evidence, detail, len(rows))
    return findings


def _listed(kind: FindingKind, evidence: Iterator[tuple[str, ...]], detail: str, count: int) -> list[Finding]:
    found = [
        Finding(kind=kind, evidence=list(ids), detail=detail)
        for ids, _ in zip(evidence, range(MAX_FINDINGS), strict=False)
    ]
    if count > MAX_FINDINGS:
        found.append(Finding(kind=kind, evidence=[], detail=f"{count - MAX_FINDINGS} more of this kind are not listed"))
    return found
