"""Attributes that go with the failure: one value in failing requests far oftener than in healthy ones of the route.

A value counts when the binomial chance that so many failing requests would have it, at the rate seen in healthy ones
(with one more of each added), is below `CHANCE`. An id that differs in every request can never pass. Spans that most
healthy requests lack are left to the divergences. Values of spans are not handed on, since they may be a customer's;
those of resources (a pod, a host, a version) are.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import comb
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from butfor.evidence.telemetry import EVIDENCE
from butfor.evidence.timelines import RequestSeen, Timelines
from butfor.reporting.situations import comparable

CHANCE = 1e-3
MAX_FAILING = 200
MAX_HEALTHY = 500
MAX_CONTRASTS = 8
SHARE = 0.5
CONSEQUENCES = ("http.response.", "http.status", "error.", "exception.", "otel.status", "rpc.grpc.status", "butfor.")
"""Attributes that say that, or how, a request ended: they go with any failure and explain none."""

Place = tuple[str, str, str]
"""Service, span name (empty for its resource) and attribute (empty: that there is such a span at all)."""


@dataclass(frozen=True)
class Contrast:
    """`failing` of `failings` requests share one value of this attribute, and `healthy` of `healthies` have it."""

    service: str
    span: str
    attribute: str
    value: str | None
    failing: int
    failings: int
    healthy: int
    healthies: int


def contrasts(timelines: Timelines) -> list[Contrast]:
    """Return the attributes that set failing requests apart, the most telling first; empty where none does."""
    failing = [timelines.requests[index] for index in timelines.failing[:MAX_FAILING]]
    healthy = comparable(timelines)[:MAX_HEALTHY]
    if len(failing) < 2 or not healthy:
        return []
    values = _values(timelines, [*failing, *healthy])
    bad, good = _counts(values, failing), _counts(values, healthy)
    known = [place for place in bad if place[2] and 2 * good[place[0], place[1], ""].total() > len(healthy)]
    found = (_contrast(place, bad[place], good[place], len(failing), len(healthy)) for place in known)
    told = sorted((one for one in found if one), key=lambda pair: (pair[0], pair[1].service, pair[1].attribute))
    return [one for _, one in told[:MAX_CONTRASTS]]


def _contrast(
    place: Place, bad: Counter[str], good: Counter[str], failings: int, healthies: int
) -> tuple[float, Contrast] | None:
    value, count = max(bad.items(), key=lambda item: (item[1], item[0]))
    rate = (good[value] + 1) / (healthies + 2)
    chance = sum(comb(failings, k) * rate**k * (1 - rate) ** (failings - k) for k in range(count, failings + 1))
    if chance >= CHANCE or count / failings - good[value] / healthies < SHARE:
        return None
    service, span, attribute = place
    shown = None if span else value
    return chance, Contrast(service, span, attribute, shown, count, failings, good[value], healthies)


def _values(timelines: Timelines, requests: Iterable[RequestSeen]) -> dict[str, set[tuple[Place, str]]]:
    """Per trace, each attribute with each of its values."""
    wanted = pa.array(sorted({one.span.partition("/")[0] for one in requests}), pa.string())
    spans = timelines.spans.filter(pc.not_equal(timelines.spans["name"], EVIDENCE))
    rows = spans.filter(pc.is_in(spans["trace_id"], wanted))
    found: dict[str, set[tuple[Place, str]]] = defaultdict(set)
    columns = ("trace_id", "service", "name", "attributes", "resource")
    for trace, service, name, attributes, resource in zip(*(rows[one].to_pylist() for one in columns), strict=True):
        found[trace].update(_pairs(service, name, attributes))
        found[trace].update(_pairs(service, "", resource))
    return found


def _pairs(service: str, span: str, attributes: Any) -> Iterator[tuple[Place, str]]:
    yield (service, span, ""), ""
    for key, value in attributes or ():
        if value is not None and not key.startswith(CONSEQUENCES):
            yield (service, span, key), value


def _counts(values: dict[str, set[tuple[Place, str]]], requests: list[RequestSeen]) -> defaultdict[Place, Counter[str]]:
    found: defaultdict[Place, Counter[str]] = defaultdict(Counter)
    for request in requests:
        for place, value in values[request.span.partition("/")[0]]:
            found[place][value] += 1
    return found
