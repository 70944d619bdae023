"""What ran: which functions failing requests passed, and where their way and that of healthy ones part.

For failures that no stack shows. A function that ran is near the failure, the nearer the closer before or after the
place where the failing requests' way first leaves that of healthy ones: what runs long after is a consequence.
Functions are in the order of their first calls, so the place is where the first one runs that no healthy request runs.

And for an exception that the application raises, which the repository's code only called: what the application called
before it raised is near, for it may have been given something else than before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from butfor.evidence.predicates import Frame
from butfor.evidence.timelines import RequestSeen, Timelines
from butfor.locating.trees import Key, Tree

PASSED = 0.1
"""That a function ran says little by itself: most of what runs does so for every request."""
BEFORE, AFTER, FADE = 0.9, 0.3, 0.8
"""Of the last function before the parting and the first one after it; what is left per function in between."""
ELSEWHERE = 0.5
"""What a parting counts where only requests of other routes can be compared with: their handlers differ anyway."""
SOMEWHERE = 0.2
"""That a function ran for some request, where none is known to have failed; less the more requests ran it."""
UNSEEN = 0.6
"""What is left of a guess about a function that did not run while the failing requests were looked at."""
MOST_CITED = 2
ERROR = 400
"""Answers from this status on are errors."""


@dataclass(frozen=True)
class Near:
    """How near a function is to the failure by what ran, and why."""

    weight: float
    why: str


@dataclass(frozen=True)
class Running:
    """Functions that ran for failing requests, by region; empty where nobody looked. `evidence` cites the requests."""

    near: dict[Key, Near] = field(default_factory=dict)
    evidence: tuple[str, ...] = ()
    partings: tuple[Key, ...] = ()
    """The first functions that failing requests run and healthy ones do not."""
    application: bool = False
    """Whether it is the application that raised, beneath the innermost frame in the repository."""


def observe(timelines: Timelines, tree: Tree) -> Running:
    """Compare each with healthy requests of its route, or, where none was looked at, with all of its service.

    Rivals show as much of the symptom: which of them good answers otherwise is not known before it has run.
    """
    failing = _looked_at(timelines, [*timelines.failing, *timelines.rivals])
    if not failing:
        return Running() if timelines.failing else _somewhere(timelines, tree)
    every = _looked_at(timelines, timelines.healthy)
    application = all(raised_by_application(one) is not None for one in failing)
    found: dict[Key, Near] = {}
    partings: list[Key] = []
    for one in failing:
        healthy, strength = _compared(one, every, tree)
        for key, near in _nearness(one, tree, healthy, strength, application=application):
            if key not in found or found[key].weight < near.weight:
                found[key] = near
        if strength and not application:
            partings += [key for key in _keys(one, tree) if key not in healthy][:1]
    cited = tuple(f"functions:{one.span}" for one in failing[:MOST_CITED])
    return Running(found, cited, tuple(dict.fromkeys(partings)), application)


def _compared(request: RequestSeen, healthy: Sequence[RequestSeen], tree: Tree) -> tuple[set[Key], float]:
    """What ran for the healthy requests that a failing one is compared with, and what a parting from them counts."""
    every = [one for one in healthy if one.service == request.service]
    alike = [one for one in every if (one.method, one.route) == (request.method, request.route)]
    strength = 1.0 if alike else ELSEWHERE if every else 0.0
    return {key for one in alike or _answered_otherwise([request], every) for key in _keys(one, tree)}, strength


def _answered_otherwise(failing: list[RequestSeen], every: list[RequestSeen]) -> list[RequestSeen]:
    """Requests of other routes without those that rightly got the same error: they share the way to it."""
    errors = {one.status for one in failing if one.status is not None and one.status >= ERROR}
    return [one for one in every if one.status not in errors] or every


def _somewhere(timelines: Timelines, tree: Tree) -> Running:
    """Where nothing in the capture tells the failure: code that ran is nearer than code that did not."""
    every = _looked_at(timelines, list(range(len(timelines.requests))))
    ran = Counter(key for one in every for key in _keys(one, tree))
    near = {key: SOMEWHERE * (1 - 0.5 * count / len(every)) for key, count in ran.items()}
    found = {key: Near(weight, f"ran for {ran[key]} of {len(every)} requests") for key, weight in near.items()}
    return Running(found, tuple(f"functions:{one.span}" for one in every[:MOST_CITED]))


def raised_by_application(request: RequestSeen) -> tuple[Frame, Frame] | None:
    """The innermost frame in the repository and the application's function that it called, where that one raised."""
    own = {frame.file for frame in request.functions if not frame.in_repository}
    for seen in request.exceptions:
        inside = [index for index, frame in enumerate(seen.frames) if frame.in_repository]
        beneath = seen.frames[inside[-1] + 1 :] if inside else []
        if beneath and all(frame.file in own for frame in beneath):
            return seen.frames[inside[-1]], beneath[0]
    return None


def _nearness(
    request: RequestSeen, tree: Tree, healthy: set[Key], strength: float, *, application: bool
) -> Iterator[tuple[Key, Near]]:
    order = _keys(request, tree)
    if application and (found := raised_by_application(request)):
        yield from ((key, Near(PASSED, "ran for failing requests")) for key in order)
        yield from _given(request, tree, *found)
        return
    yield from _placed(order, healthy, strength, tree)
    yield from _stopping(order) if request.ended == "timeout" else ()


def _given(request: RequestSeen, tree: Tree, caller: Frame, raising: Frame) -> Iterator[tuple[Key, Near]]:
    """What began after the application's function and before what its caller does next, the ends first."""
    name = raising.function.rpartition(".")[2]
    starts = [i for i, f in enumerate(request.functions) if f.file == raising.file and f.function.endswith(name)]
    after = request.functions[starts[0] + 1 :] if starts else []
    keys = list(dict.fromkeys(key for frame in after if (key := _key(frame, tree))))
    found = tree.locate(caller.file, caller.line)
    onward = {call.rpartition(".")[2] for call in found[1].calls} if found else set()
    end = next((i for i, key in enumerate(keys) if key[1].rpartition(".")[2] in onward), len(keys)) or len(keys)
    for index, key in enumerate(keys[:end]):
        steps = min(index, end - 1 - index)
        yield key, Near(BEFORE * FADE**steps, f"ran within {raising.function} of the application, which raised")


def _placed(order: Sequence[Key], healthy: set[Key], strength: float, tree: Tree) -> Iterator[tuple[Key, Near]]:
    """Every function of one failing request by its distance from the parting."""
    parting = next((index for index, key in enumerate(order) if key not in healthy), None)
    for index, key in enumerate(order):
        if parting is None or not strength:
            yield key, Near(PASSED, "ran for failing requests")
            continue
        first, distance = tree.dotted(order[parting]), parting - 1 - index
        whole, steps = (BEFORE, distance) if distance >= 0 else (AFTER, -1 - distance)
        where = f"before {first}, which" if distance >= 0 else f"after {first} began, which" if steps else "which"
        weight = max(PASSED, strength * whole * FADE**steps)
        yield key, Near(weight, f"ran {where} healthy requests do not run")


def _stopping(order: Sequence[Key]) -> Iterator[tuple[Key, Near]]:
    """Of a request that never ended: the last functions that it came to."""
    for steps, key in enumerate(reversed(order)):
        why = f"began {steps} before the last function of a request without an end"
        yield key, Near(BEFORE * FADE**steps, why)


def _looked_at(timelines: Timelines, indices: list[int]) -> list[RequestSeen]:
    requests = (timelines.requests[index] for index in indices if index < len(timelines.requests))
    return [one for one in requests if one.functions]


def _keys(request: RequestSeen, tree: Tree) -> list[Key]:
    """The regions of a request's functions, in the order of their first calls."""
    return list(dict.fromkeys(key for frame in request.functions if (key := _key(frame, tree))))


def _key(frame: Frame, tree: Tree) -> Key | None:
    """The region of a function: by its name, else by its first line, which may be a decorator's."""
    name = frame.function.replace(".<locals>", "")
    if name in tree.source(frame.file).by_name:
        return frame.file, name
    found = tree.locate(frame.file, frame.line)
    return found[0] if found and found[1].is_function else None
