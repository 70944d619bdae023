"""The stage itself: telemetry into timelines, findings, requests and the failure to explain."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from butfor.correlating.failures import groups, judged, with_chains, without_slow
from butfor.correlating.frames import Sources
from butfor.correlating.joins import join
from butfor.correlating.offspring import with_offspring
from butfor.correlating.orders import order
from butfor.correlating.predicates import Explained, explain
from butfor.correlating.requests import Traffic, traffic
from butfor.correlating.segments import segments, threads
from butfor.correlating.signatures import MOST_LOST, kernel_failures
from butfor.correlating.silences import named, silent
from butfor.correlating.uprobes import raised
from butfor.evidence.incidents import Symptom
from butfor.evidence.kernels import lost_share
from butfor.evidence.predicates import FailurePredicate
from butfor.evidence.telemetry import Telemetry
from butfor.evidence.timelines import RequestSeen, Timelines


def correlate(
    telemetry: Telemetry,
    symptom: Symptom | None = None,
    *,
    source_roots: list[str] | None = None,
    repository_files: Iterable[str] | None = None,
) -> Timelines:
    """Order the spans, find the requests and what failed, and derive the predicate of the failure to explain.

    `source_roots`: absolute folders, as the processes saw them, that stand for the repository's root; those in the
    manifest are known already. `repository_files`: paths in the repository, by which files that its setup installed
    into site-packages are known as its own. `spans` has `depth`, `parent_row` (a row of the same table, or -1) and
    `remote_parent` (its parent is a client's that was never captured) beside the columns of SPANS.
    """
    sources = Sources.known(telemetry.bundle.manifest, source_roots, repository_files)
    spans = order(telemetry.spans)
    thread = threads(spans.table)
    flat = segments(spans, thread)
    found = join(telemetry, spans, flat, thread)
    seen = traffic(telemetry, spans, sources, raised(spans, telemetry.kernel, found.table, sources))
    requests, explained = _explained(seen, symptom, telemetry)
    if named(symptom) or not any(one.failed for one in requests):
        requests, explained = silent(requests, explained, telemetry, found.table, spans.table, symptom)
    joined = found.table
    if explained.predicate is not None and explained.predicate.by_kernel:
        joined = with_offspring(telemetry.kernel, joined, spans.table)
    if not sources.roots and explained.predicate and explained.predicate.frame:
        explained.reasons.append("the folder of the sources is not known: files are named as the process saw them")
    return Timelines(
        telemetry, spans.table, flat, [*spans.findings, *found.findings], requests,
        _with_kernel(explained, requests, telemetry, found.table, spans.table), explained.failing, explained.healthy,
        explained.reasons, explained.rivals, joined, found.summary,
    )  # fmt: skip


def _with_kernel(
    explained: Explained, requests: list[RequestSeen], telemetry: Telemetry, joined: pa.Table, spans: pa.Table
) -> FailurePredicate | None:
    """The predicate with what the kernel saw of every failing request and of no healthy one of the route."""
    predicate = explained.predicate
    if predicate is None or predicate.by_kernel or not joined.num_rows:
        return predicate
    if (lost := lost_share(telemetry.losses, telemetry.kernel.num_rows)) > MOST_LOST:
        explained.reasons.append(f"{lost:.0%} of the kernel's events were lost: they are no part of the predicate")
        return predicate
    failing = [requests[i] for i in explained.failing]
    healthy = [requests[i] for i in explained.healthy]
    alike, others = ([one for one in healthy if (one.route == predicate.route) is same] for same in (True, False))
    shown = kernel_failures(telemetry.kernel, joined, spans, failing, alike, others)
    return predicate.model_copy(update={"kernel": shown})


def _explained(seen: Traffic, symptom: Symptom | None, telemetry: Telemetry) -> tuple[list[RequestSeen], Explained]:
    """Slowness is explained where it was asked for, or where nothing failed outright."""
    requests, slow = judged(seen, symptom)
    outright = without_slow(requests, slow)
    if slow and any(r.failed for r in outright) and not (symptom and symptom.latency_over_ms is not None):
        chained, explained = _explain(outright, seen, set(), symptom, telemetry)
        if explained.predicate is not None:
            return chained, explained
    return _explain(requests, seen, slow, symptom, telemetry)


def _explain(
    requests: list[RequestSeen], seen: Traffic, slow: set[int], symptom: Symptom | None, telemetry: Telemetry
) -> tuple[list[RequestSeen], Explained]:
    found = groups(requests, seen, slow)
    chained = with_chains(requests, seen)
    return chained, explain(chained, seen, found, symptom, telemetry.payloads)
