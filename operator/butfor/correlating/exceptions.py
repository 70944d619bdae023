"""Exceptions and stack samples bound to spans, from span events and from logs in context; each once."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from butfor.correlating.frames import Sources, decoded, innermost, of_library
from butfor.correlating.orders import Ordered
from butfor.correlating.templates import template
from butfor.correlating.tracebacks import Raised, parse
from butfor.evidence.predicates import Frame
from butfor.evidence.timelines import ExceptionSeen, StackSample

MAX_SEEN = 100_000
"""Exceptions that are read at all; a capture with more is full of handled ones."""
MAX_MESSAGE = 4000
SOURCES = ("span_event", "log", "injected", "uprobe")
"""Best first."""
_SAID = {"span_event": "span_event", "log": "log", "raised": "injected"}

Attributes = dict[str, str]


@dataclass(frozen=True)
class Occurrence:
    """An exception with its span's row and its time (ns; 0 where unknown)."""

    row: int
    time: int
    seen: ExceptionSeen


def occurrences(spans: Ordered, logs: pa.Table, sources: Sources) -> dict[int, list[Occurrence]]:
    """Per span row its exceptions, best first: escaped, then by source, then the latest."""
    found: defaultdict[int, list[Occurrence]] = defaultdict(list)
    for count, (row, time, kind, attributes) in enumerate(_records(spans, logs)):
        if count >= MAX_SEEN:
            break
        if seen := _seen(spans.id(row), attributes, kind, sources):
            found[row].append(Occurrence(row, time, seen.model_copy(update={"time_ns": time})))
    return {row: deduplicated(several) for row, several in found.items()}


def _records(spans: Ordered, logs: pa.Table) -> Iterator[tuple[int, int, str, Attributes]]:
    for row, time, attributes in _events(spans.table, "exception"):
        yield row, time, _SAID.get(attributes.get("butfor.exception.source", ""), "span_event"), attributes
    yield from _logged(spans, logs)


def _events(table: pa.Table, name: str) -> Iterator[tuple[int, int, Attributes]]:
    """(row, time, attributes) of all events of that name."""
    events = table["events"].combine_chunks()
    rows = np.asarray(pc.list_parent_indices(events))
    flat = pc.list_flatten(events)
    wanted = np.flatnonzero(np.asarray(pc.equal(flat.field("name"), name)))
    times = flat.field("time_ns").take(pa.array(wanted)).to_pylist()
    attributes = flat.field("attributes").take(pa.array(wanted))
    for at, row in enumerate(rows[wanted].tolist()):
        yield row, times[at] or 0, dict(attributes[at].as_py() or [])


def _logged(spans: Ordered, logs: pa.Table) -> Iterator[tuple[int, int, str, Attributes]]:
    """Log records with an exception whose span was captured."""
    types = pc.map_lookup(logs["attributes"], query_key="exception.type", occurrence="first")
    texts = pc.map_lookup(logs["attributes"], query_key="exception.stacktrace", occurrence="first")
    with_exception = logs.filter(pc.or_(pc.is_valid(types), pc.is_valid(texts)))
    ids = pc.binary_join_element_wise(with_exception["trace_id"], with_exception["span_id"], "/")
    rows = pc.fill_null(pc.index_in(ids, value_set=spans.ids), -1).to_pylist()
    for row, time, attributes in zip(
        rows, with_exception["time_ns"].to_pylist(), with_exception["attributes"].to_pylist(), strict=True
    ):
        if row >= 0:
            yield row, time or 0, "log", dict(attributes or [])


def _seen(span: str, attributes: Attributes, source: str, sources: Sources) -> ExceptionSeen | None:
    """None where the record names neither a type nor a stack."""
    chain = parse(attributes.get("exception.stacktrace", ""))
    outer, said = attributes.get("exception.type", ""), attributes.get("exception.message", "")[:MAX_MESSAGE]
    types = _types(attributes.get("butfor.exception.types")) or _qualified(chain, outer)
    if not types:
        return None
    root = chain[0] if chain else None
    message = root.message[:MAX_MESSAGE] if root and (len(types) > 1 or not said) else said
    frames = sources.frames(decoded(attributes.get("butfor.exception.frames")) or (root.frames if root else []))
    if not innermost(frames):
        frames = [*_callers(chain[1:], sources), *frames]
    escaped = attributes.get("exception.escaped", "").lower() == "true"
    return ExceptionSeen(
        span=span, types=types, message=message, template=template(message), frames=frames,
        source=source, escaped=escaped,
    )  # fmt: skip


def _callers(outer: list[Raised], sources: Sources) -> list[Frame]:
    """Who called a library that raised the root and caught it within itself: what it raised instead tells."""
    for raised in outer:
        frames = sources.frames(raised.frames)
        while frames and not frames[-1].in_repository:
            frames.pop()
        if frames:
            return frames
    return []


def _types(text: str | None) -> list[str]:
    try:
        found = json.loads(text) if text else []
    except (ValueError, RecursionError):
        return []
    return [item[:300] for item in found if isinstance(item, str) and item][:50] if isinstance(found, list) else []


def _qualified(chain: list[Raised], outer: str) -> list[str]:
    """The chain's types, root first; the recorded type replaces the printed one where it is the same class."""
    types = [raised.type for raised in chain][:50]
    if not outer:
        return types
    if types and types[-1].rpartition(".")[2] == outer.rpartition(".")[2]:
        return [*types[:-1], outer]
    return [outer] if not types or outer not in types else types


def deduplicated(several: Iterable[Occurrence]) -> list[Occurrence]:
    """One per (root type, template), best source first; frames come from whichever has them.

    What was seen from outside has no type or message: there the place tells one from another.
    """
    kept: dict[tuple[str, str, str], Occurrence] = {}
    for one in sorted(several, key=_preference):
        place = str(one.seen.frames[-1:]) if one.seen.source == "uprobe" else ""
        key = one.seen.types[0].rpartition(".")[2], one.seen.template, place
        better = kept.get(key)
        if better is None:
            kept[key] = one
        else:
            kept[key] = _completed(better, one)
    return sorted(kept.values(), key=_preference)


def _completed(better: Occurrence, other: Occurrence) -> Occurrence:
    seen = better.seen
    update: dict[str, object] = {"escaped": seen.escaped or other.seen.escaped}
    if not innermost(seen.frames) and (not seen.frames or innermost(other.seen.frames)):
        update["frames"] = other.seen.frames
    if len(other.seen.types) > len(seen.types):
        update["types"] = other.seen.types
    return replace(better, seen=seen.model_copy(update=update))


def _preference(one: Occurrence) -> tuple[bool, int, int, str]:
    return not one.seen.escaped, SOURCES.index(one.seen.source), -one.time, one.seen.span


def samples(spans: Ordered, sources: Sources) -> dict[int, list[StackSample]]:
    """Per span row its sampled stacks, the most frequent first."""
    found: defaultdict[int, list[StackSample]] = defaultdict(list)
    for row, _, attributes in _events(spans.table, "butfor.stack_sample"):
        frames = sources.frames(decoded(attributes.get("butfor.frames")))
        count = attributes.get("butfor.count", "1")
        if frames:
            weight = max(1, int(count)) if count.isdecimal() and len(count) < 10 else 1
            found[row].append(StackSample(span=spans.id(row), frames=frames, count=weight))
    return {row: sorted(several, key=lambda one: -one.count) for row, several in found.items()}


def functions(spans: Ordered, sources: Sources) -> dict[int, list[Frame]]:
    """Per span row the functions that ran, each at its first line, in the order in which they began.

    Those of the repository, and of the application on it, which are not `in_repository`.
    """
    found: defaultdict[int, list[Frame]] = defaultdict(list)
    for row, _, attributes in _events(spans.table, "butfor.functions"):
        ran = sources.frames(decoded(attributes.get("butfor.frames")))
        found[row] += [frame for frame in ran if frame.in_repository or not of_library(frame)]
    return dict(found)
