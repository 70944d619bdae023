"""The failure predicate: from the group of failures to explain to conditions that no healthy request meets."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import median

from butfor.correlating.failures import Group, mismatches, outermost
from butfor.correlating.frames import innermost
from butfor.correlating.requests import Traffic
from butfor.evidence.incidents import Symptom
from butfor.evidence.predicates import AnswerProperty, FailurePredicate
from butfor.evidence.requests import Payload
from butfor.evidence.timelines import RequestSeen

MAX_EVIDENCE = 50


@dataclass
class Explained:
    """The failure to explain: predicate (or None), failing and healthy indices, and the reasons for the choice."""

    predicate: FailurePredicate | None = None
    failing: list[int] = field(default_factory=list)
    healthy: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def explain(
    requests: list[RequestSeen], traffic: Traffic, found: list[Group], symptom: Symptom | None, payloads: list[Payload]
) -> Explained:
    """Choose the group, derive its predicate and check it against every request that did not fail."""
    reasons: list[str] = []
    group = _chosen(requests, traffic, found, symptom, reasons)
    if group is None:
        return Explained(healthy=_healthy(requests, None), reasons=reasons)
    failing = _together(group, found, requests, reasons)
    predicate = _predicate(group, requests, payloads, symptom, reasons)
    healthy = _healthy(requests, group)
    hit = [i for i in healthy if matches(predicate, requests[i])]
    if hit:
        reasons.append(
            f"no predicate: {len(hit)} requests that did not fail look the same, such as {requests[hit[0]].span}; "
            "name what tells them apart with --symptom"
        )
        return Explained(None, failing, healthy, reasons)
    return Explained(predicate, failing, healthy, reasons)


def _chosen(
    requests: list[RequestSeen], traffic: Traffic, found: list[Group], symptom: Symptom | None, reasons: list[str]
) -> Group | None:
    if not found:
        reasons.append(f"none of {len(requests)} captured requests failed" if requests else "no request was captured")
        return None
    if symptom and _asks(symptom):
        return _by_symptom(requests, traffic, found, symptom, reasons)
    whole = [group for group in found if any(outermost(requests, traffic, i) for i in group.members)]
    group = max(whole or found, key=lambda one: _weight(one, requests))
    if len(whole) > 1:
        others = "; ".join(_named(one) for one in sorted(whole, key=lambda o: -len(o.members)) if one is not group)
        reasons.append(f"explains the most frequent failure, {_named(group)}; others: {others}"[:1000])
    return group


def _asks(symptom: Symptom) -> bool:
    keys = (symptom.service, symptom.route, symptom.status, symptom.exception, symptom.latency_over_ms)
    return any(key is not None for key in keys)


def _by_symptom(
    requests: list[RequestSeen], traffic: Traffic, found: list[Group], symptom: Symptom, reasons: list[str]
) -> Group | None:
    """The group that shows most of the symptom; a group of another service or route never stands in."""
    missed = {id(group): mismatches(requests[group.members[0]], symptom) for group in found}
    asked = sum(key is not None for key in (symptom.status, symptom.exception, symptom.latency_over_ms))
    fit = [
        group
        for group in found
        if not {"service", "route"} & set(missed[id(group)]) and (len(missed[id(group)]) < asked or not asked)
    ]
    if not fit:
        reasons.append("no captured failure shows the symptom; seen instead: " + "; ".join(map(_named, found[:5])))
        return None
    group = max(
        fit,
        key=lambda one: (
            -len(missed[id(one)]),
            any(outermost(requests, traffic, i) for i in one.members),
            _weight(one, requests),
        ),
    )
    if missed[id(group)]:
        reasons.append(f"the failure explained differs from the symptom in {', '.join(missed[id(group)])}")
    return group


def _weight(group: Group, requests: list[RequestSeen]) -> tuple[bool, bool, int, int]:
    """Failures before slowness, 5xx and broken answers before 4xx, then the most frequent, then the earliest."""
    first = requests[group.members[0]]
    client_error = first.status is not None and 400 <= first.status < 500
    return not group.slow, not client_error, len(group.members), -min(group.members)


def _named(group: Group) -> str:
    said = f" {group.primary.types[0]}" if group.primary else ""
    return f"{len(group.members)} x {group.service} {group.route}{said}{' (slow)' if group.slow else ''}"


def _together(group: Group, found: list[Group], requests: list[RequestSeen], reasons: list[str]) -> list[int]:
    """The group's requests, then those of other routes that failed for the same exception at the same place."""
    related: list[int] = []
    for other in found:
        if other is not group and other.service == group.service and _same_cause(group, other, requests):
            related += other.members
            reasons.append(f"also fails in the same way: {_named(other)}")
    return [*group.members, *sorted(related)]


def _same_cause(one: Group, other: Group, requests: list[RequestSeen]) -> bool:
    if one.primary is None or other.primary is None or one.frame is None or other.frame is None:
        return False
    first, second = requests[one.members[0]], requests[other.members[0]]
    same_answer = (first.status, first.ended) == (second.status, second.ended)
    same_type = one.primary.types[0] == other.primary.types[0]
    same_place = (one.frame.file, one.frame.function) == (other.frame.file, other.frame.function)
    return same_answer and same_type and same_place


def _predicate(
    group: Group, requests: list[RequestSeen], payloads: list[Payload], symptom: Symptom | None, reasons: list[str]
) -> FailurePredicate:
    members = [requests[i] for i in group.members]
    first = members[0]
    seen = None if group.slow else group.primary  # what an answered request handled is not why it was slow
    if seen is None and not group.slow:
        reasons.append("no exception was seen in the failing requests: how they ended is all that tells them")
    elif seen is not None and group.frame is None:
        reasons.append("no frame of the exception lies in the repository")
    if seen is not None and not group.own:
        reasons.append(f"the exception was raised by a service that {group.service} calls")
    return FailurePredicate(
        service=group.service, method=_most(members, "method"), route=group.route,
        status=first.status if first.ended is None and not group.slow else None, ended=first.ended,
        exception_types=seen.types if seen else [], message_template=seen.template if seen else None,
        frame=innermost(seen.frames) if seen else None,
        answer=AnswerProperty(kind="body_truncated") if first.ended == "truncated" else None,
        slower_than_s=_slower_than(group, requests, symptom, reasons) if group.slow else None,
        timeout_s=_timeout(members, payloads) if first.ended == "timeout" else None,
        evidence=_evidence(members, group),
    )  # fmt: skip


def _most(members: list[RequestSeen], name: str) -> str:
    values: list[str] = [getattr(member, name) for member in members]
    return max(sorted(set(values)), key=values.count)


def _timeout(members: list[RequestSeen], payloads: list[Payload]) -> float:
    """How long the clients waited, seconds: the median over the failing requests."""
    waited = []
    for member in members:
        payload = payloads[member.payload] if member.payload is not None else None
        known = payload is not None and payload.end_ns is not None
        waited.append((payload.end_ns - payload.start_ns) / 1e9 if known else member.duration_s)  # type: ignore[union-attr,operator]
    return round(median(waited), 3)


def _slower_than(group: Group, requests: list[RequestSeen], symptom: Symptom | None, reasons: list[str]) -> float:
    """Seconds between the slowest healthy and the fastest failing request: their geometric mean."""
    fastest = min(requests[i].duration_s for i in group.members)
    same = [r.duration_s for r in requests if not r.failed and (r.service, r.route) == (group.service, group.route)]
    healthy = [duration for duration in same if 0 < duration < fastest]
    if healthy:
        return math.sqrt(max(healthy) * fastest)
    reasons.append("no healthy request of the same route to compare the duration with")
    over = symptom.latency_over_ms if symptom else None
    return over / 1000 if over is not None and over / 1000 < fastest else fastest / 2


def _evidence(members: list[RequestSeen], group: Group) -> list[str]:
    spans = [member.span for member in members]
    raised = [group.primary.span] if group.primary else []
    return list(dict.fromkeys([*raised, *spans]))[:MAX_EVIDENCE]


def _healthy(requests: list[RequestSeen], group: Group | None) -> list[int]:
    """Requests that did not fail, of the failing service where there is one, its route's first, in time order."""
    fine = [i for i, r in enumerate(requests) if not r.failed and (r.status is None or r.status < 500)]
    if group is None:
        return fine
    own = [i for i in fine if requests[i].service == group.service]
    return sorted(own, key=lambda i: requests[i].route != group.route)


def matches(predicate: FailurePredicate, request: RequestSeen) -> bool:
    """All conditions hold for a captured request."""
    if (predicate.service, predicate.method, predicate.route) != (request.service, request.method, request.route):
        return False
    if predicate.status is not None and (request.status != predicate.status or request.ended is not None):
        return False
    if predicate.ended != request.ended:
        return False
    if predicate.slower_than_s is not None and request.duration_s <= predicate.slower_than_s:
        return False
    return not predicate.exception_types or any(
        seen.types[0] == predicate.exception_types[0]
        and seen.template == predicate.message_template
        and innermost(seen.frames) == predicate.frame
        for seen in request.exceptions
    )
