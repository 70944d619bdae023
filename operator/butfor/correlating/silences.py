"""Failures that no answer shows: requests that were answered well, in which the kernel saw something fail.

A library that swallows an error leaves nothing above it. What the kernel saw inside a request's own spans is then the
failure, told either by a user (`Symptom.kernel`) or by the capture: some requests of a route show it, others do not.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

import pyarrow as pa

from butfor.correlating.failures import Group, mismatches
from butfor.correlating.offspring import with_offspring
from butfor.correlating.predicates import Explained, predicate_of
from butfor.correlating.signatures import LEAST_HEALTHY, MOST_LOST, shown_by, watched
from butfor.evidence.families import family, is_a
from butfor.evidence.incidents import Symptom
from butfor.evidence.kernels import LOOKUPS, lost_share, with_lock_waits
from butfor.evidence.predicates import KernelFailure
from butfor.evidence.telemetry import Telemetry
from butfor.evidence.timelines import RequestSeen

_SAID = {"open": ("openat", "openat2"), "signal": ("died", "killed"), "off_cpu": ("futex", "flock", "waits")}
"""Other words for a kind."""
_GONE = ("connection.reset", "connection.broken_pipe", "connection.closed")
Shown = Mapping[str, AbstractSet[KernelFailure]]
Place = tuple[str, str, str]


def named(symptom: Symptom | None) -> bool:
    """Whether a user says what the kernel saw."""
    return symptom is not None and symptom.kernel is not None


def silent(
    requests: list[RequestSeen], explained: Explained, telemetry: Telemetry, joined: pa.Table, spans: pa.Table,
    symptom: Symptom | None,
) -> tuple[list[RequestSeen], Explained]:  # fmt: skip
    """The requests and the failure to explain, where it is the kernel that tells it; else as they were given.

    What a user named is never replaced by another failure. Where nobody named it, a user's word on answers comes first.
    """
    asked = symptom or Symptom()
    others = (asked.status, asked.exception, asked.latency_over_ms, asked.trace)
    if not named(asked) and any(value is not None for value in others):
        return requests, explained
    reason = _unwatched(telemetry, joined)
    if reason and named(asked) and any(value is not None for value in others):
        return requests, replace(explained, reasons=[*explained.reasons, reason])
    seen = [one for one in watched(telemetry.kernel, requests) if not _elsewhere(one, asked)] if not reason else []
    shown = _shown(telemetry.kernel, joined, spans, seen, waits=named(asked)) if seen else {}
    chosen, members = _wanted(seen, shown, asked.kernel) if asked.kernel else _telling(seen, shown)
    if chosen is None:
        said = reason or f"no captured request shows {asked.kernel} in the kernel"
        return requests, Explained(healthy=explained.healthy, reasons=[said]) if named(asked) else explained
    return _explained(requests, telemetry, chosen, members)


def _shown(
    kernel: pa.Table, joined: pa.Table, spans: pa.Table, seen: Sequence[RequestSeen], *, waits: bool
) -> Shown:  # fmt: skip
    """What failed in each request, the ends of its processes included; waits for locks where a user asks for them.

    A wait alone is no failure: under load everything waits for something.
    """
    events = with_lock_waits(kernel) if waits else kernel
    return shown_by(events, with_offspring(kernel, joined, spans), spans, seen)


def _unwatched(telemetry: Telemetry, joined: pa.Table) -> str:
    if not telemetry.kernel.num_rows or not joined.num_rows:
        return "what the kernel saw in requests was not captured"
    lost = lost_share(telemetry.losses, telemetry.kernel.num_rows)
    return f"{lost:.0%} of the kernel's events were lost: what others lack is not known" if lost > MOST_LOST else ""


def _elsewhere(request: RequestSeen, symptom: Symptom) -> bool:
    """Whether it is not of the symptom's service and route, or not of its trace."""
    if symptom.trace and not request.span.startswith(f"{symptom.trace}/"):
        return True
    return bool({"service", "route"}.intersection(mismatches(request, symptom)))


def _wanted(seen: Sequence[RequestSeen], shown: Shown, said: str) -> tuple[KernelFailure | None, set[str]]:
    """The failure that a user's words name and most requests show, and these."""
    found: defaultdict[KernelFailure, set[str]] = defaultdict(set)
    for request in seen:
        for one in shown.get(request.span, ()):
            if fits(one, said):
                found[one].add(request.span)
    return _most(found)


def _most(found: Mapping[KernelFailure, set[str]]) -> tuple[KernelFailure | None, set[str]]:
    if not found:
        return None, set()
    most = max(found, key=lambda one: (len(found[one]), one.kind, one.errno, one.target_type))
    return most, found[most]


def fits(failure: KernelFailure, said: str) -> bool:
    """Whether each word names a part of it: its kind, its errno or signal, or what it was about."""
    parts = {failure.kind, failure.errno, failure.target_type, *_SAID.get(failure.kind, ())}
    return {word.lower() for word in said.split()} <= {part.lower() for part in parts if part}


def _telling(seen: Sequence[RequestSeen], shown: Shown) -> tuple[KernelFailure | None, set[str]]:
    """The failure that most requests show which others of their own route do not; nothing ordinary."""
    places: defaultdict[Place, list[RequestSeen]] = defaultdict(list)
    for request in seen:
        places[request.service, request.method, request.route].append(request)
    found: defaultdict[KernelFailure, set[str]] = defaultdict(set)
    for members in places.values():
        for one in {one for request in members for one in shown.get(request.span, ()) if not _ordinary(one)}:
            with_it = {request.span for request in members if one in shown.get(request.span, ())}
            if len(members) - len(with_it) >= LEAST_HEALTHY:
                found[one] |= with_it
    return _most(found)


def _ordinary(failure: KernelFailure) -> bool:
    """Whether healthy programs meet it all the time: what they look for is not there, or a peer has gone away."""
    gone = any(is_a(family(["OSError"], failure.errno), name) for name in _GONE)
    return failure.errno in LOOKUPS or (gone and failure.target_type != "process")


def _explained(
    requests: Sequence[RequestSeen], telemetry: Telemetry, chosen: KernelFailure, members: AbstractSet[str]
) -> tuple[list[RequestSeen], Explained]:
    """The requests that show it as the failing ones; of several services those of the one that shows it most."""
    places = Counter((one.service, one.route) for one in requests if one.span in members)
    service, route = max(places, key=lambda place: (places[place], place))
    said = f"{chosen.kind.replace('_', ' ')} {chosen.errno or chosen.target_type}".strip()
    failing = [i for i, one in enumerate(requests) if one.span in members and one.service == service]
    failing.sort(key=lambda i: requests[i].route != route)
    marked = [
        one.model_copy(update={"failed": True, "why": [*one.why, f"the kernel saw {said}"]}) if i in failing else one
        for i, one in enumerate(requests)
    ]
    reasons = [f"no answer tells this failure: the kernel saw {said} in {len(failing)} requests"]
    group = Group(service, route, failing, None, own=False, slow=False)
    predicate = predicate_of(group, marked, telemetry.payloads, None, []).model_copy(
        update={
            "kernel": [chosen], "by_kernel": True, "status": None, "ended": None, "answer": None, "timeout_s": None,
        }
    )  # fmt: skip
    healthy = [i for i, one in enumerate(marked) if not one.failed and one.service == service]
    healthy.sort(key=lambda i: marked[i].route != route)
    return marked, Explained(predicate, failing, healthy, reasons)
