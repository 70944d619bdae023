"""Data edges: where a value that one answer gave appears in a later request.

Only values that can hardly agree by chance count: texts and numbers of `LEAST` characters or more that do not
appear in what came before the answer. From calls of the failing request to its later calls, and from earlier
requests of the capture to the failing one (state that was built before).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from butfor.evidence.requests import Payload
from butfor.graphing import features, spans
from butfor.graphing.builders import Builder
from butfor.graphing.scenes import Scene

LEAST = 6
MAX_PAYLOADS = 300
_MAX_VALUES = 300
_MAX_EDGES = 100
_WORD = re.compile(r"[A-Za-z0-9_\-.~+/=]{6,200}")
_COMMON = re.compile(
    r"(application|text|image|multipart)/.*|true|false|utf-8|keep-alive|gzip.*|\d+\.\d+|https?", re.ASCII
)

Numbered = tuple[int, Payload]


def add(builder: Builder, scene: Scene) -> None:
    """Adds data edges between calls, and `call` nodes for earlier requests whose answers flow in."""
    bundle = scene.timelines.telemetry.bundle.path
    failing = scene.representative.request
    numbered = list(enumerate(scene.timelines.telemetry.payloads))
    own = _own(numbered, scene)
    _add_between(builder, scene, own, bundle)
    if failing.payload is not None and failing.payload < len(numbered):
        _add_before(builder, scene, numbered, numbered[failing.payload], bundle)


def _own(numbered: Iterable[Numbered], scene: Scene) -> list[Numbered]:
    mine = {place.span.id for place in scene.representative.places}
    own = [p for p in numbered if p[1].role == "client" and _span(p[1]) in mine]
    return sorted(own, key=lambda p: (p[1].start_ns, _span(p[1])))[:MAX_PAYLOADS]


def _span(payload: Payload) -> str:
    return f"{payload.trace_id}/{payload.span_id}"


def _add_between(builder: Builder, scene: Scene, own: list[Numbered], bundle: Path) -> None:
    texts = {index: _asked(payload, bundle) for index, payload in own}
    added = 0
    for at, (index, payload) in enumerate(own):
        fresh = _answered(payload, bundle) - texts[index]
        for later, other in own[at + 1 :]:
            if added < _MAX_EDGES and _after(payload, other) and fresh & texts[later]:
                source, target = (spans.node_of(builder, scene, _span(p)) for p in (payload, other))
                builder.edge(source, target, "data", [f"payload:{index}", f"payload:{later}"])
                added += 1


def _add_before(builder: Builder, scene: Scene, numbered: list[Numbered], failing: Numbered, bundle: Path) -> None:
    """Earlier requests to the same service; the last ones, if there are very many."""
    asked = _asked(failing[1], bundle)
    earlier = [
        p for p in numbered
        if p[1].role != "client" and p[1].service == failing[1].service and _after(p[1], failing[1])
    ]  # fmt: skip
    earlier.sort(key=lambda p: (p[1].start_ns, _span(p[1])))
    for index, payload in earlier[-MAX_PAYLOADS:]:
        if (_answered(payload, bundle) - _asked(payload, bundle)) & asked:
            cited = [f"payload:{index}", f"payload:{failing[0]}"]
            label = f"{payload.method} {payload.target.partition('?')[0][:100]}"
            node = builder.node(f"call:{_span(payload)}", "call", label, cited, facts={"service": payload.service})
            builder.edge(node, spans.request_id(scene), "data", cited)


def _after(first: Payload, second: Payload) -> bool:
    return first.end_ns is not None and first.end_ns <= second.start_ns


def _answered(payload: Payload, bundle: Path) -> set[str]:
    """Values that an answer gave: JSON scalars, `Location`, cookies."""
    headers = [v for n, v in payload.answer_headers if n.lower() in {"location", "set-cookie", "etag", "x-csrf-token"}]
    raw = features.read_body(bundle, payload.answer_body)
    scalars = _scalars(features.parsed(raw)) if raw else iter(())
    return set(_telling([*_words(headers), *_take(scalars)]))


def _asked(payload: Payload, bundle: Path) -> set[str]:
    """Values that a request carries: in its target, its headers, its body."""
    headers = [
        v for n, v in payload.request_headers if n.lower() not in {"host", "user-agent", "accept", "traceparent"}
    ]
    raw = features.read_body(bundle, payload.request_body) or b""
    value = features.parsed(raw) if raw[:1] in {b"{", b"["} else None
    scalars = _take(_scalars(value)) if value is not None else _words([raw[:65536].decode("latin-1")])
    return set(_telling([*_words([unquote(payload.target), payload.target, *headers]), *scalars]))


def _words(texts: Iterable[str]) -> list[str]:
    """Whole words, and their parts between `/` and `=`, so that ids in paths and cookies are found."""
    found: list[str] = []
    for text in texts:
        for word in _WORD.findall(text[:65536])[:_MAX_VALUES]:
            found += [word, *re.split(r"[/=]", word)]
    return found


def _telling(values: Iterable[str]) -> Iterator[str]:
    return (v for v in values if len(v) >= LEAST and not _COMMON.fullmatch(v))


def _take(values: Iterator[str]) -> list[str]:
    return [value for value, _ in zip(values, range(_MAX_VALUES), strict=False)]


def _scalars(value: Any) -> Iterator[str]:
    work = [value]
    while work:
        item = work.pop()
        if isinstance(item, dict):
            work.extend(item.values())
        elif isinstance(item, list):
            work.extend(item)
        elif isinstance(item, (str, int)) and not isinstance(item, bool):
            yield str(item)[:200]
