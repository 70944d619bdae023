"""Input nodes: what the failing requests have that healthy ones of the same route do not have.

Service, method and route are part of the failure's own definition: their nodes are not exogenous. Of the other
dimensions the smallest set that no healthy request has as a whole is the trigger; dimensions that differ too but
are not needed to tell failing from healthy name one that is (`facts.redundant_with`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from butfor.evidence.timelines import RequestSeen
from butfor.graphing import features, spans
from butfor.graphing.builders import Builder
from butfor.graphing.features import Features
from butfor.graphing.scenes import Scene, Tree

MAX_INPUTS = 40
_COMMON = 0.9
_FACTOR = 1.5
ABSENT = "absent"


@dataclass(frozen=True)
class Difference:
    """A dimension that failing requests share; `healthy_with` are the healthy requests that have it too."""

    dimension: str
    value: str
    healthy_value: str
    failing_share: float
    unusual: float
    healthy_with: frozenset[int]
    level: int
    """0: presence or size, 1: kind, 2: one value among few, 3: one value among many (an id, a name)."""


def add(builder: Builder, scene: Scene) -> None:
    """Adds input nodes; they reach the request they are part of."""
    _add_identity(builder, scene)
    failing = [of_tree(tree, scene) for tree in scene.failing]
    healthy = [of_tree(tree, scene) for tree in scene.healthy]
    found = differences(failing, healthy) if healthy else []
    chosen = trigger(found, len(healthy)) if scene.scope == "route" else []
    cited = _cited(scene)
    for difference in ranked(found)[:MAX_INPUTS]:
        node = _add(builder, scene, difference, chosen, cited)
        builder.edge(node, spans.request_id(scene), "data", cited)


def of_tree(tree: Tree, scene: Scene) -> Features:
    """Dimensions of a request, from its payload or, without one, from its target."""
    payloads = scene.timelines.telemetry.payloads
    index = tree.request.payload
    if index is not None and 0 <= index < len(payloads):
        return features.of_request(payloads[index], scene.timelines.telemetry.bundle.path)
    return features.of_target(tree.request.target)


def differences(failing: Sequence[Features], healthy: Sequence[Features]) -> list[Difference]:
    """Dimensions with a value that nearly all failing requests share and some healthy ones do not have."""
    dimensions = sorted({d for f in (*failing, *healthy) for d in f})
    found = (
        _difference(d, [f.get(d, ABSENT) for f in failing], [h.get(d, ABSENT) for h in healthy]) for d in dimensions
    )
    return [d for d in found if d is not None and d.unusual > 0]


def trigger(found: Sequence[Difference], healthy: int) -> list[Difference]:
    """The fewest differences (greedily) that no healthy request has together; empty if there are none such."""
    left = frozenset(range(healthy))
    chosen: list[Difference] = []
    while left:
        best = min(found, key=lambda d: (len(left & d.healthy_with), d.level, d.dimension), default=None)
        if best is None or left <= best.healthy_with:
            return []
        chosen.append(best)
        left &= best.healthy_with
    return chosen


def ranked(found: Sequence[Difference]) -> list[Difference]:
    """Rarest among healthy first, then the most general."""
    return sorted(found, key=lambda d: (-d.unusual, d.level, d.dimension))


def shown(value: str, *, private: bool) -> str:
    """A value as a report may show it: in a capture with raw values only numbers and kinds."""
    if not private or re.fullmatch(r"[-+]?\d{1,6}(\.\d{1,6})?|true|false|null", value) or value in _KINDS:
        return value[:80]
    return f"text of {len(value)} characters"


_KINDS = frozenset({
    ABSENT, "present", "none", "some", "unstated", "object", "array", "text", "empty text", "boolean", "number",
    "negative number", "text beyond ASCII", "",
})  # fmt: skip


def _difference(dimension: str, failing: Sequence[str], healthy: Sequence[str]) -> Difference | None:
    if dimension == "body.size":
        return _size(failing, healthy)
    value, count = min(Counter(failing).items(), key=lambda kv: (-kv[1], kv[0]))
    if count < _COMMON * len(failing) or (dimension.endswith("=") and value == ABSENT):
        return None  # the dimension without `=` says that it is absent
    having = frozenset(i for i, v in enumerate(healthy) if v == value)
    usual = Counter(v for v in healthy if v != value)
    return Difference(
        dimension, value, min(usual, key=lambda v: (-usual[v], v), default=value), round(count / len(failing), 4),
        round(1 - len(having) / len(healthy), 6), having, _level(dimension, healthy),
    )  # fmt: skip


def _level(dimension: str, healthy: Sequence[str]) -> int:
    if not dimension.endswith("="):
        return 0 if dimension.startswith(("header", "path", "body.kind")) else 1
    return 3 if len(set(healthy)) > max(3, len(healthy) // 2) else 2


def _size(failing: Sequence[str], healthy: Sequence[str]) -> Difference | None:
    """Sizes differ where the ranges lie clearly apart on one side; the healthy ones beyond are those with it."""
    bad = [int(v) for v in failing if v != ABSENT]
    good = [int(v) if v != ABSENT else 0 for v in healthy]
    if not bad:
        return None
    low, high = min(bad), max(bad)
    larger = frozenset(i for i, v in enumerate(good) if v * _FACTOR >= low)
    smaller = frozenset(i for i, v in enumerate(good) if v <= high * _FACTOR)
    having = min(larger, smaller, key=len)
    usual = sorted(v for i, v in enumerate(good) if i not in having)
    middle = str(usual[len(usual) // 2]) if usual else str(low)
    return Difference("body.size", str(low), middle, 1.0, round(1 - len(having) / len(good), 6), having, 0)


def _add_identity(builder: Builder, scene: Scene) -> None:
    request = scene.representative.request
    for name, value in (("method", request.method), ("route", request.route)):
        healthy = sum(_identity(t.request, name) == value for t in scene.healthy)
        unusual = scene.unusual(healthy, unknown=0.0)
        usual = Counter(_identity(t.request, name) for t in scene.healthy)
        node = builder.node(
            f"input:{name}", "input", f"{name} {value}", _cited(scene), value=value, unusual=unusual,
            healthy_value=min(usual, key=lambda v: (-usual[v], v), default=None),
            facts={"scope": scene.scope, "identity": True},
        )  # fmt: skip
        builder.edge(node, spans.request_id(scene), "data", _cited(scene))


def _identity(request: RequestSeen, name: str) -> str:
    return request.method if name == "method" else request.route


def _add(
    builder: Builder, scene: Scene, difference: Difference, chosen: Sequence[Difference], cited: Sequence[str]
) -> str:
    private = scene.private and difference.dimension.endswith("=")  # the others are kinds, not what was sent
    value = shown(difference.value, private=private)
    facts = {"scope": scene.scope, "failing_share": difference.failing_share, "level": difference.level,
             "trigger": difference in chosen}  # fmt: skip
    if chosen and difference not in chosen:
        facts["redundant_with"] = f"input:{chosen[0].dimension}"
    return builder.node(
        f"input:{difference.dimension}", "input", f"{difference.dimension.rstrip('=')} is {value}", cited,
        exogenous=True, value=value, healthy_value=shown(difference.healthy_value, private=private),
        unusual=difference.unusual, facts=facts,
    )  # fmt: skip


def _cited(scene: Scene) -> list[str]:
    trees = sorted(scene.failing, key=lambda t: t.request.span != scene.representative.request.span)
    return [cited for tree in trees[:3] for cited in reversed(spans.cite(tree))]
