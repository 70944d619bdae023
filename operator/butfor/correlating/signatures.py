"""What the kernel saw of a failure and of no healthy request: the kernel's part of the predicate; exact events only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from butfor.correlating.orders import Rows
from butfor.evidence.families import family, is_a
from butfor.evidence.kernels import LOOKUPS, act, error_name, target_type
from butfor.evidence.predicates import KernelFailure
from butfor.evidence.timelines import RequestSeen

MOST_LOST = 0.02
"""Share of events lost from which on it is not known what healthy requests do not show."""
LEAST_HEALTHY = 2
"""Fewer healthy requests of the route cannot tell what belongs to the failure."""
MAX_TUPLES = 8
_COLUMNS = ("kind", "value", "errno", "family", "path")


def kernel_failures(
    kernel: pa.Table, joined: pa.Table, spans: pa.Table, failing: Sequence[RequestSeen], healthy: Sequence[RequestSeen],
    others: Sequence[RequestSeen] = (),
) -> list[KernelFailure]:  # fmt: skip
    """Tuples that every failing request shows and no healthy one; empty where too few ran while it was watched.

    `healthy` are those of the same route; where they are too few, the service's healthy requests of `others` tell what
    is ordinary of no route: that something is exhausted, or that a process dies.
    A request is told by its own spans, not by those of requests it made.
    """
    if not failing:
        return []
    compared = watched(kernel, healthy)
    alike = len(compared) >= LEAST_HEALTHY
    compared += [] if alike else watched(kernel, others)
    if len(compared) < LEAST_HEALTHY:
        return []
    shown = shown_by(kernel, joined, spans, [*failing, *compared])
    common = set.intersection(*(shown.get(one.span, set()) for one in failing))
    common -= set().union(*(shown.get(one.span, set()) for one in compared))
    telling = [one for one in common if _grave(one) or (alike and (len(failing) > 1 or one.errno not in LOOKUPS))]
    return sorted(telling, key=lambda one: (one.kind, one.errno, one.target_type))[:MAX_TUPLES]


def _grave(failure: KernelFailure) -> bool:
    """Whether it is ordinary of no request: something is exhausted, or a process died."""
    return failure.target_type == "process" or is_a(family(["OSError"], failure.errno), "exhausted")


def shown_by(
    kernel: pa.Table, joined: pa.Table, spans: pa.Table, requests: Iterable[RequestSeen]
) -> dict[str, set[KernelFailure]]:
    """Per request (its span) the failures that were joined exactly to its own spans; without a key where none were."""
    exact = _exact_failures(kernel, joined)
    return _by_request(kernel, exact, spans, requests) if exact.num_rows else {}


def watched(kernel: pa.Table, requests: Iterable[RequestSeen]) -> list[RequestSeen]:
    """Those that ran while the kernel was watched: of others it is not known what they show."""
    found = pc.min_max(kernel["time_ns"]).as_py()
    first, last = found["min"], found["max"]
    return [] if first is None else [one for one in requests if first <= one.start_ns <= last]


def _exact_failures(kernel: pa.Table, joined: pa.Table) -> pa.Table:
    sure = joined.filter(pc.greater_equal(joined["confidence"], pa.scalar(1.0, pa.float32())))
    return sure.filter(kernel["failure"].take(sure["event"])) if sure.num_rows else sure


def _by_request(
    kernel: pa.Table, exact: pa.Table, spans: pa.Table, requests: Iterable[RequestSeen]
) -> dict[str, set[KernelFailure]]:
    """Per request the tuples of its own spans."""
    ids = pc.binary_join_element_wise(spans["trace_id"], spans["span_id"], "/").combine_chunks()
    wanted = pa.array([one.span for one in requests], pa.string())
    heads = np.asarray(pc.fill_null(pc.index_in(wanted, value_set=ids), -1))
    owner = _owners(np.asarray(spans["parent_row"], dtype=np.int64), spans, heads[heads >= 0])
    at = np.asarray(pc.fill_null(pc.index_in(exact["span"].cast(pa.string()), value_set=ids), -1), dtype=np.int64)
    of = np.where(at >= 0, owner[np.where(at >= 0, at, 0)], -1)
    mine = np.isin(of, heads[heads >= 0])
    rows = kernel.select(_COLUMNS).take(exact["event"].filter(pa.array(mine))).to_pylist()
    found: dict[str, set[KernelFailure]] = {}
    for head, row in zip(of[mine].tolist(), rows, strict=True):
        found.setdefault(str(ids[head].as_py()), set()).add(_tuple(row))
    return found


def _tuple(row: dict[str, object]) -> KernelFailure:
    kind, value, errno = str(row["kind"]), int(str(row["value"])), str(row["errno"])
    about = target_type(kind, str(row["family"]), str(row["path"]))
    return KernelFailure(kind=act(kind), errno=error_name(kind, value, errno), target_type=about)


def _owners(parent: Rows, spans: pa.Table, heads: Rows) -> Rows:
    """Per span the request that it belongs to: the nearest one above it; what another request made is that one's."""
    rows = np.arange(len(parent))
    service = np.asarray(spans["service"].combine_chunks().dictionary_encode().indices, dtype=np.int64)
    kind = np.asarray(spans["kind"].to_pylist(), dtype=object)
    above = np.where(parent >= 0, parent, 0)
    entered = (kind == "SERVER") & (service != service[above])
    stop = (parent < 0) | entered
    stop[heads] = True
    step = np.where(stop, rows, above)
    for _ in range(len(step).bit_length()):
        step = step[step]
    return step
