"""The failure predicate: from the group of failures to explain to conditions that no healthy request meets."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import median

from butfor.correlating.failures import Group, mismatches, outermost
from butfor.correlating.frames import innermost
from butfor.correlating.requests import Traffic
from butfor.correlating.templates import common, fits
from butfor.evidence.incidents import Symptom
from butfor.evidence.predicates import AnswerProperty, FailurePredicate
from butfor.evidence.requests import Payload
from butfor.evidence.timelines import ExceptionSeen, RequestSeen

MAX_EVIDENCE = 50


@dataclass
class Explained:
    """The failure to explain: predicate (or None), failing and healthy indices, and the reasons for the choice."""

    predicate: FailurePredicate | None = None
    failing: list[int] = field(default_factory=list)
    healthy: list[int] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    rivals: list[int] = field(default_factory=list)


def explain(
    requests: list[RequestSeen], traffic: Traffic, found: list[Group], symptom: Symptom | None, payloads: list[Payload]
) -> Explained:
    """Choose the group, derive its predicate and check it against every request that did not fail."""
    reasons: list[str] = []
    rivals: list[int] = []
    group = _chosen(requests, traffic, found, symptom, reasons, rivals)
    if group is None:
        return Explained(healthy=_healthy(requests, None), reasons=reasons)
    related = _related(group, found, requests)
    reasons += [f"also fails in the same way: {_named(one)}" for one in related[:5]]
    failing = [*group.members, *sorted(i for one in related for i in one.members)]
    predicate = predicate_of(group, requests, payloads, symptom, reasons)
    if predicate.message_template is not None:
        said = [one.primary.template for one in [group, *related] if one.primary]
        predicate = predicate.model_copy(update={"message_template": common(said)})
    healthy = _healthy(requests, group)
    hit = [i for i in healthy if matches(predicate, requests[i])]
    if hit:
        reasons.append(
            f"no predicate: {len(hit)} requests that did not fail look the same, such as {requests[hit[0]].span}; "
            "name what tells them apart with --symptom"
        )
        return Explained(None, failing, healthy, reasons)
    return Explained(predicate, failing, healthy, reasons, sorted(rivals))


def _chosen(
    requests: list[RequestSeen], traffic: Traffic, found: list[Group], symptom: Symptom | None, reasons: list[str],
    rivals: list[int],
) -> Group | None:  # fmt: skip
    if symptom and symptom.trace:
        found = _of_trace(requests, found, symptom.trace, reasons)
        if not found:
            return None
    if not found:
        reasons.append(_nothing(requests, symptom))
        return None
    if symptom and _asks(symptom):
        return _by_symptom(requests, traffic, found, symptom, reasons, rivals)
    whole = [group for group in found if any(outermost(requests, traffic, i) for i in group.members)]
    group = max(whole or found, key=lambda one: _weight(one, requests))
    if len(whole) > 1:
        others = _unlike(group, whole, requests)
        said = f"explains the most frequent failure, {_named(group)}"
        reasons += [f"{said}; others: {_all_named(others)}"] if others else []
    return group


def _of_trace(requests: list[RequestSeen], found: list[Group], trace: str, reasons: list[str]) -> list[Group]:
    """The groups that a request of this trace belongs to; else the reason why there is none."""
    of_trace = {i for i, request in enumerate(requests) if request.span.startswith(f"{trace}/")}
    if not of_trace:
        reasons.append(f"no request of trace {trace} was captured")
    chosen = [group for group in found if of_trace.intersection(group.members)]
    if of_trace and not chosen:
        reasons.append(f"no request of trace {trace} failed")
    return chosen


def _nothing(requests: list[RequestSeen], symptom: Symptom | None) -> str:
    if not requests:
        return "no request was captured"
    said = f"none of {len(requests)} captured requests failed"
    if symptom and isinstance(symptom.status, int) and symptom.status < 400 and symptom.latency_over_ms is None:
        said += f"; answers with {symptom.status} show a failure only by an exception, a duration or a broken body"
    return said


def _asks(symptom: Symptom) -> bool:
    keys = (symptom.service, symptom.route, symptom.status, symptom.exception, symptom.latency_over_ms)
    return any(key is not None for key in keys)


def _by_symptom(
    requests: list[RequestSeen], traffic: Traffic, found: list[Group], symptom: Symptom, reasons: list[str],
    rivals: list[int],
) -> Group | None:  # fmt: skip
    """The group that shows most of the symptom; a group of another service or route never stands in.

    `rivals` gets the members of others that show as much of it.
    """
    missed = {id(group): _missed(group, requests, symptom) for group in found}
    asked = sum(key is not None for key in (symptom.status, symptom.exception, symptom.latency_over_ms))
    fit = [
        group
        for group in found
        if not {"service", "route"} & set(missed[id(group)]) and (len(missed[id(group)]) < asked or not asked)
    ]
    if not fit:
        reasons.append("no captured failure shows the symptom; seen instead: " + _all_named(found))
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
    best = len(missed[id(group)])
    alike = [one for one in _unlike(group, fit, requests) if len(missed[id(one)]) == best]
    rivals += [i for one in alike for i in one.members]
    if alike:
        reasons.append(f"the symptom is shown by {_named(group)}, explained here, and also by " + _all_named(alike))
    return group


def _missed(group: Group, requests: list[RequestSeen], symptom: Symptom) -> list[str]:
    """The keys that its most alike request does not show."""
    return min((mismatches(requests[i], symptom) for i in group.members[:100]), key=len)


def _weight(group: Group, requests: list[RequestSeen]) -> tuple[bool, bool, int, int]:
    """Failures before slowness, 5xx and broken answers before 4xx, then the most frequent, then the earliest."""
    first = requests[group.members[0]]
    client_error = first.status is not None and 400 <= first.status < 500
    return not group.slow, not client_error, len(group.members), -min(group.members)


def _named(group: Group) -> str:
    said = f" {group.primary.types[0]}" if group.primary else ""
    return f"{len(group.members)} x {group.service} {group.route}{said}{' (slow)' if group.slow else ''}"


def _all_named(several: list[Group]) -> str:
    shown = [_named(one) for one in sorted(several, key=lambda one: -len(one.members))]
    return "; ".join(shown[:5]) + (f"; {len(shown) - 5} more kinds" if len(shown) > 5 else "")


def _related(group: Group, found: list[Group], requests: list[RequestSeen]) -> list[Group]:
    """Groups of the same service that failed for the same exception at the same place, on whatever route."""
    return [
        other
        for other in found
        if other is not group and other.service == group.service and _same_cause(group, other, requests)
    ]


def _unlike(group: Group, others: list[Group], requests: list[RequestSeen]) -> list[Group]:
    """Groups that are another failure."""
    related = [group, *_related(group, others, requests)]
    return [one for one in others if not any(one is like for like in related)]


def _same_cause(one: Group, other: Group, requests: list[RequestSeen]) -> bool:
    """The same function is enough where the messages agree, else it must be the same line."""
    if one.primary is None or other.primary is None or one.frame is None or other.frame is None:
        return False
    first, second = requests[one.members[0]], requests[other.members[0]]
    same_answer = (first.status, first.ended, one.slow) == (second.status, second.ended, other.slow)
    same_type = one.primary.types[0] == other.primary.types[0]
    same_place = (one.frame.file, one.frame.function) == (other.frame.file, other.frame.function)
    same_words = one.primary.template == other.primary.template or one.frame.line == other.frame.line
    return same_answer and same_type and same_place and same_words


def predicate_of(
    group: Group, requests: list[RequestSeen], payloads: list[Payload], symptom: Symptom | None, reasons: list[str]
) -> FailurePredicate:
    """Derive the predicate of one group; what weakens it is added to `reasons`."""
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
    return not predicate.exception_types or any(_is_it(predicate, seen) for seen in request.exceptions)


def _is_it(predicate: FailurePredicate, seen: ExceptionSeen) -> bool:
    frame, wanted = innermost(seen.frames), predicate.frame
    same_place = (frame and (frame.file, frame.function)) == (wanted and (wanted.file, wanted.function))
    same_words = predicate.message_template is None or fits(predicate.message_template, seen.template)
    return seen.types[0] == predicate.exception_types[0] and same_place and same_words
