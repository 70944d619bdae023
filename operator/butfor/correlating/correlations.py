"""The stage itself: telemetry into timelines, findings, requests and the failure to explain."""

from __future__ import annotations

from butfor.correlating.failures import groups, judged, with_chains
from butfor.correlating.frames import Sources
from butfor.correlating.orders import order
from butfor.correlating.predicates import explain
from butfor.correlating.requests import traffic
from butfor.correlating.segments import segments
from butfor.evidence.incidents import Symptom
from butfor.evidence.telemetry import Telemetry
from butfor.evidence.timelines import Timelines


def correlate(
    telemetry: Telemetry, symptom: Symptom | None = None, *, source_roots: list[str] | None = None
) -> Timelines:
    """Order the spans, find the requests and what failed, and derive the predicate of the failure to explain.

    `source_roots`: absolute folders, as the processes saw them, that stand for the repository's root; those in the
    manifest are known already. `spans` has `depth` and `parent_row` (a row of the same table, or -1) beside SPANS.
    """
    sources = Sources.known(telemetry.bundle.manifest, source_roots)
    spans = order(telemetry.spans)
    seen = traffic(telemetry, spans, sources)
    requests, slow = judged(seen, symptom)
    found = groups(requests, seen, slow)
    explained = explain(requests, seen, found, symptom, telemetry.payloads)
    if not sources.roots and explained.predicate and explained.predicate.frame:
        explained.reasons.append("the folder of the sources is not known: files are named as the process saw them")
    return Timelines(
        telemetry, spans.table, segments(spans), spans.findings, with_chains(requests, seen),
        explained.predicate, explained.failing, explained.healthy, explained.reasons,
    )  # fmt: skip
