"""What the kernel read of events and the captured spans do not bear out, as findings."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from butfor.correlating.orders import Ordered, Rows
from butfor.evidence.timelines import Finding, FindingKind

_MAX_EXAMPLES = 20

Codes = npt.NDArray[np.int32]


def between(spans: Ordered, time: Rows, events: Rows, trace: Codes) -> Rows:
    """Those of the events, rows of `time`, whose trace has some of them when no captured span was open anywhere."""
    if not len(events):
        return events
    by = np.argsort(spans.start, kind="stable")
    until = np.maximum.accumulate(spans.end[by])
    before = np.searchsorted(spans.start[by], time[events], "right") - 1
    alone = (before < 0) | (until[before] < time[events])
    found: Rows = events[np.isin(trace, trace[alone])]
    return found


def noted(spans: Ordered, time: Rows, stale: Rows, unknown: Rows, apart: Rows) -> Iterator[Finding]:
    """Events whose span was not open; whose span was not captured; of these `apart`, whose requests were not either.

    A service that is asked whether it is ready, before the load, works for requests that nobody captured.
    """
    yield from _finding("stale_context", stale, "", "the thread's record names a span that was not open then")
    lost = np.setdiff1d(unknown, apart, assume_unique=True)
    yield from _finding("unknown_span", lost, "", "the record names a span that was not captured")
    early = np.count_nonzero(time[apart] < spans.start.min())
    when = f", {early} before the first captured request" if early else ""
    yield from _finding(
        "uncaptured_request", apart, when, "they are of other requests, which ran when no captured one did"
    )


def _finding(kind: FindingKind, events: Rows, when: str, detail: str) -> Iterator[Finding]:
    if len(events):
        examples = [f"kernel:{event}" for event in events[:_MAX_EXAMPLES].tolist()]
        yield Finding(kind=kind, evidence=examples, detail=f"{len(events)} events{when}: {detail}")
