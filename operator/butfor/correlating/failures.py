"""Which requests failed, which failures belong together, and which of them is to be explained."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

from butfor.correlating.frames import innermost
from butfor.correlating.requests import Traffic, is_consequence
from butfor.evidence.incidents import Symptom
from butfor.evidence.predicates import Frame
from butfor.evidence.timelines import ExceptionSeen, RequestSeen

SLOW_FACTOR = 8.0
SLOW_FLOOR_S = 0.25
SLOW_POPULATION = 4
"""A request is slow if it took more than SLOW_FACTOR times its route's lower quartile and SLOW_FLOOR_S longer, among
at least SLOW_POPULATION answered ones. The lower quartile, since up to half of a population may be the slow ones."""

Key = tuple[str, str, int | str | None, bool, str, str, str]


@dataclass(frozen=True)
class Group:
    """Requests that failed in one way. `primary` is the exception that tells it best, `own` if it is the service's."""

    service: str
    route: str
    members: list[int]
    primary: ExceptionSeen | None
    own: bool
    slow: bool

    @property
    def frame(self) -> Frame | None:
        """The innermost frame in the repository of the primary exception."""
        return innermost(self.primary.frames) if self.primary else None


def judged(traffic: Traffic, symptom: Symptom | None) -> tuple[list[RequestSeen], set[int]]:
    """Requests with `failed` and `why`, and which failed by being slow alone."""
    slow = _slow(traffic.requests, symptom)
    found, only_slow = [], set()
    for i, request in enumerate(traffic.requests):
        why = _why(request, unended=traffic.unended[i], error=traffic.failed_span[i])
        if not why and i in slow:
            why = [slow[i]]
            only_slow.add(i)
        if not why and symptom and _shows(request, symptom):
            why = ["shows the symptom that was given"]
        found.append(request.model_copy(update={"failed": bool(why), "why": why}))
    return found, only_slow


def _why(request: RequestSeen, *, unended: bool, error: bool) -> list[str]:
    why: list[str] = []
    if request.ended == "timeout":
        why.append("never ended" if unended else f"the client gave up after {request.duration_s:.2f} s")
    elif request.ended:
        why.append("the answer broke off" if request.ended == "truncated" else "the connection was closed unanswered")
    if request.status is not None and request.status >= 500:
        why.append(f"answered {request.status}")
    if error and not why and (request.exceptions or request.status is None):
        named = request.exceptions[0].types[-1] if request.exceptions else "no status"
        why.append(f"its span has status ERROR ({named})")
    return why


def without_slow(requests: list[RequestSeen], slow: set[int]) -> list[RequestSeen]:
    """Where others fail outright, those that were answered slowly count as answered; `why` still says it."""
    return [r.model_copy(update={"failed": False}) if i in slow else r for i, r in enumerate(requests)]


def _slow(requests: list[RequestSeen], symptom: Symptom | None) -> dict[int, str]:
    """Why each slow request is slow."""
    routes: defaultdict[tuple[str, str, str], list[int]] = defaultdict(list)
    for i, request in enumerate(requests):
        if request.ended is None:
            routes[request.service, request.method, request.route].append(i)
    found: dict[int, str] = {}
    for members in routes.values():
        durations = np.array([requests[i].duration_s for i in members])
        usual = float(np.percentile(durations, 25))
        limit = max(SLOW_FACTOR * usual, usual + SLOW_FLOOR_S)
        if len(members) >= SLOW_POPULATION:
            for i in (members[j] for j in np.flatnonzero(durations > limit).tolist()):
                found[i] = f"took {requests[i].duration_s:.2f} s where its route usually takes {usual:.3f} s"
    over = symptom.latency_over_ms if symptom else None
    for i, request in enumerate(requests):
        if over is not None and symptom and request.duration_s * 1000 > over and _here(request, symptom):
            found.setdefault(i, f"took {request.duration_s:.2f} s, more than the {over:g} ms of the symptom")
    return found


def _here(request: RequestSeen, symptom: Symptom) -> bool:
    """The symptom's service and route, where it names them."""
    if symptom.service not in (None, request.service):
        return False
    if symptom.route is None:
        return True
    path = request.target.partition("?")[0]
    return symptom.route.rstrip("/") in (request.route.rstrip("/"), path.rstrip("/"))


def _shows(request: RequestSeen, symptom: Symptom) -> bool:
    """An answered request shows the symptom by an exception or by a 4xx; a 2xx status alone says nothing."""
    distinct = symptom.exception is not None or (
        isinstance(symptom.status, int) and (symptom.status >= 400 or bool(request.exceptions))
    )
    return distinct and not mismatches(request, symptom)


def mismatches(request: RequestSeen, symptom: Symptom) -> list[str]:
    """The keys of the symptom that this request does not show."""
    found = []
    if not _here(request, symptom):
        found.append("route" if symptom.service in (None, request.service) else "service")
    if symptom.status is not None and not _has_status(request, symptom.status):
        found.append("status")
    if symptom.exception and not any(_named(seen, symptom.exception) for seen in request.exceptions):
        found.append("exception")
    if symptom.latency_over_ms is not None and request.duration_s * 1000 <= symptom.latency_over_ms:
        found.append("latency_over_ms")
    return found


def _has_status(request: RequestSeen, wanted: int | str) -> bool:
    if isinstance(wanted, int) or wanted.isdecimal():
        return request.status == int(wanted)
    if wanted == "no answer":
        return request.ended is not None and request.status is None
    return request.ended == wanted or (wanted == "closed" and request.ended == "truncated")


def _named(seen: ExceptionSeen, wanted: str) -> bool:
    """Types are compared without their module, which users seldom know."""
    return any(name.rpartition(".")[2] == wanted.rpartition(".")[2] for name in seen.types)


def groups(requests: list[RequestSeen], traffic: Traffic, slow: set[int]) -> list[Group]:
    """Failures by how they look; within a failed request's handling, only the outermost is a failure of its own."""
    found: defaultdict[Key, list[int]] = defaultdict(list)
    primaries: dict[int, tuple[ExceptionSeen | None, bool]] = {}
    below = _below(traffic)
    for i, request in enumerate(requests):
        if request.failed:
            primaries[i] = _primary(i, requests, below)
            found[_key(request, primaries[i][0], slow=i in slow)].append(i)
    listed = []
    for key, members in found.items():
        primary, own = max((primaries[i] for i in members), key=lambda one: _told(one[0]))
        listed.append(Group(key[0], key[1], members, primary, own, key[3]))
    return listed


def _key(request: RequestSeen, primary: ExceptionSeen | None, *, slow: bool) -> Key:
    frame = innermost(primary.frames) if primary else None
    place = f"{frame.file}:{frame.function}" if frame else ""
    name = primary.types[0].rpartition(".")[2] if primary else ""
    said = primary.template if primary else ""
    return request.service, request.route, request.ended or request.status, slow, name, said, place


def _told(seen: ExceptionSeen | None) -> tuple[int, int]:
    return (0, 0) if seen is None else (1 + (innermost(seen.frames) is not None), len(seen.frames))


def _below(traffic: Traffic) -> dict[int, list[int]]:
    found: defaultdict[int, list[int]] = defaultdict(list)
    for i, outer in enumerate(traffic.outer):
        if outer >= 0:
            found[outer].append(i)
    return found


def _primary(i: int, requests: list[RequestSeen], below: dict[int, list[int]]) -> tuple[ExceptionSeen | None, bool]:
    """The exception that tells why request `i` failed, and whether its own service raised it.

    Its own service's comes first: that is what the symptom shows. Where it raised none, the cause is sought in
    failed requests that it made, the deepest first.
    """
    own = _telling(requests[i])
    if own is not None or requests[i].ended == "timeout":
        return own, own is not None
    for j in _deepest(i, below):
        if requests[j].failed and (found := _telling(requests[j])) is not None:
            return found, False
    return None, False


def _telling(request: RequestSeen) -> ExceptionSeen | None:
    """What the server raises because its client went away tells nothing about a request that its client gave up.

    Nor does what was seen from outside: without type and message no run could be compared with it.
    """
    gone = request.ended == "timeout"
    told = (seen for seen in request.exceptions if seen.source != "uprobe")
    return next((seen for seen in told if not (gone and is_consequence(seen))), None)


def _deepest(i: int, below: dict[int, list[int]]) -> list[int]:
    """All requests made while handling `i`, the deepest levels first."""
    levels, level = [], below.get(i, [])
    seen: set[int] = {i}
    while level:
        levels.append(level)
        seen.update(level)
        level = [k for j in level for k in below.get(j, []) if k not in seen]
    return [j for level in reversed(levels) for j in level]


def with_chains(requests: list[RequestSeen], traffic: Traffic) -> list[RequestSeen]:
    """Requests that failed also carry the exceptions of failed requests that they made, after their own."""
    below = _below(traffic)
    found = []
    for i, request in enumerate(requests):
        chained = [seen for j in _deepest(i, below) if requests[j].failed for seen in requests[j].exceptions]
        add = request.failed and chained
        found.append(
            request.model_copy(update={"exceptions": [*request.exceptions, *chained[:20]]}) if add else request
        )
    return found


def outermost(requests: list[RequestSeen], traffic: Traffic, i: int) -> bool:
    """No request that led to this one failed."""
    outer, steps = traffic.outer[i], 0
    while outer >= 0 and steps < 1000:
        if requests[outer].failed:
            return False
        outer, steps = traffic.outer[outer], steps + 1
    return True
