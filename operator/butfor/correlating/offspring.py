"""Ends of processes that a request started: what ends such a process while the request is open is the request's.

A process that was forked publishes no span of its own, since it may be kept for others. The fork is known exactly; that
it served another request than the one that started it is possible where both were open: whoever relies on it runs it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from butfor.evidence.kernels import JOINED

DEATHS = ("signal", "oom_kill")
_COLUMNS = ("time_ns", "kind", "value", "pid")
MAX_ROWS = 200_000


def with_offspring(kernel: pa.Table, joined: pa.Table, spans: pa.Table) -> pa.Table:
    """The joins, and those of deaths without an exact one: to the span their process was forked in, if still open."""
    if not kernel.num_rows:
        return joined
    kinds = kernel["kind"].cast(pa.string())
    rows = pc.indices_nonzero(pc.is_in(kinds, value_set=pa.array(["fork", *DEATHS]))).slice(0, MAX_ROWS)
    told = kernel.select(_COLUMNS).take(rows).append_column("event", rows.cast(pa.int64())).to_pylist()
    if not any(one["kind"] in DEATHS for one in told):
        return joined
    sure = joined.filter(pc.greater_equal(joined["confidence"], pa.scalar(1.0, pa.float32())))
    mine = sure.filter(pc.is_in(sure["event"], value_set=rows.cast(pa.int64())))
    known = dict(zip(mine["event"].to_pylist(), mine["span"].to_pylist(), strict=True))
    found = _ended(told, known, _ends(spans))
    if not found:
        return joined
    columns = {"event": [e for e, _ in found], "span": [s for _, s in found]}
    more = {**columns, "join_source": ["thread"] * len(found), "confidence": [1.0] * len(found)}
    others = joined.filter(pc.invert(pc.is_in(joined["event"], value_set=pa.array(columns["event"], pa.int64()))))
    both = pa.concat_tables([others.cast(JOINED), pa.table(more).select(JOINED.names).cast(JOINED)])
    return both.sort_by([("event", "ascending"), ("confidence", "descending")])


def _ends(spans: pa.Table) -> dict[str, int | None]:
    ids = pc.binary_join_element_wise(spans["trace_id"], spans["span_id"], "/")
    return dict(zip(ids.to_pylist(), spans["end_ns"].to_pylist(), strict=True))


def _ended(
    told: Iterable[dict[str, Any]], known: dict[int, str], ends: dict[str, int | None]
) -> list[tuple[int, str]]:  # fmt: skip
    """Deaths with the spans that their processes, or those that forked these, were forked in."""
    born: dict[int, str] = {}
    found = []
    for one in sorted(told, key=lambda row: (row["time_ns"], row["event"])):
        span = known.get(one["event"])
        if one["kind"] == "fork":
            span = span or born.get(one["pid"])
            born.pop(one["value"], None)
            if span is not None:
                born[one["value"]] = span
        elif span is None and (forked := born.get(one["pid"])) is not None and forked in ends:
            end = ends[forked]
            if end is None or one["time_ns"] <= end:
                found.append((one["event"], forked))
    return found
