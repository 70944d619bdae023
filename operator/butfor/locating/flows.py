"""What the failing statements depend on: a backward slice within each function on the stack.

From the failing statement back over assignments, loop targets, `with` targets and the conditions around it; the
callers' statements are sliced too, so that an argument's origin is reached through the frame that passed it. From
attributes it goes on to the methods that set them, and from their parameters to the calls that passed them.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TypeVar

from butfor.locating.lexicons import Telling, fold
from butfor.locating.origins import origins
from butfor.locating.places import Scene
from butfor.locating.sources import Region, Statement
from butfor.locating.trees import Key, Tree

FADE = 0.7
"""What is left of a weight per step of data flow."""
ROUNDS = 4
HOPS = 3
"""How many regions the state of the failing code is followed through: set up here, passed there, made elsewhere."""
LEAST = 0.05
Name = TypeVar("Name", bound=Hashable)
QUOTED = re.compile(r"['\"]([^'\"]{2,60})['\"]")


@dataclass
class Flow:
    """Weights 0..1: of sliced statements (region, text), of the names that flow (folded), of the calls made."""

    statements: dict[tuple[Key, str], float] = field(default_factory=dict)
    names: dict[str, float] = field(default_factory=dict)
    calls: dict[tuple[Key, str], float] = field(default_factory=dict)
    strings: dict[str, float] = field(default_factory=dict)
    cited: dict[str, tuple[str, ...]] = field(default_factory=dict)


def trace_back(scene: Scene, tree: Tree, telling: Telling) -> Flow:
    """Slice back from every place, then on to where the state comes from that the failing code was given."""
    flow = Flow()
    seen = {found[0] for place in scene.places if (found := tree.locate(place.frame.file, place.frame.line))}
    for place in scene.places:
        found = tree.locate(place.frame.file, place.frame.line)
        statement = found[1].at(place.frame.line) if found else None
        if found and statement:
            around = [s for s in found[1].statements if s.line in statement.enclosing]
            weights = {statement: place.weight} | dict.fromkeys(around, place.weight * FADE)
            wanted = _slice(flow, found, weights, {}, telling, place.evidence)
            _onward(flow, tree, found, wanted, telling, place.evidence, seen, HOPS)
    for word in (w for message in scene.messages for w in QUOTED.findall(message)):
        _most(flow.names, fold(word), 0.8 * telling(word))
    return flow


def _slice(
    flow: Flow, found: tuple[Key, Region], weights: dict[Statement, float], wanted: dict[str, float], telling: Telling,
    evidence: tuple[str, ...],
) -> dict[str, float]:  # fmt: skip
    """Back within a region from some statements and names; what of it was wanted in the end."""
    key, region = found
    for _ in range(ROUNDS):
        for statement, weight in weights.items():
            for name in statement.said.used:
                _most(wanted, name, weight * FADE)
        grown = {s: w for s in region.statements if (w := _feeds(s, wanted)) > max(LEAST, weights.get(s, 0.0))}
        if not grown:
            break
        weights |= grown
    for statement, weight in weights.items():
        _note(flow, key, statement, weight, telling, evidence)
    return wanted


def _onward(
    flow: Flow, tree: Tree, found: tuple[Key, Region], wanted: dict[str, float], telling: Telling,
    evidence: tuple[str, ...], seen: set[Key], hops: int,
) -> None:  # fmt: skip
    """Into the regions that gave the state: an object's other methods, and those that passed the arguments."""
    if not hops:
        return
    for origin in origins(tree, found, wanted, passed=hops < HOPS):
        if origin.key not in seen:
            inner = (origin.key, tree.source(origin.key[0]).by_name[origin.key[1]])
            names = dict.fromkeys(origin.names, origin.weight * FADE)
            reached = _slice(flow, inner, {origin.statement: origin.weight}, names, telling, evidence)
            _onward(flow, tree, inner, reached, telling, evidence, seen | {origin.key}, hops - 1)


def _feeds(statement: Statement, wanted: dict[str, float]) -> float:
    return max((wanted[name] for name in statement.said.defined if name in wanted), default=0.0)


def _note(
    flow: Flow, key: Key, statement: Statement, weight: float, telling: Telling, evidence: tuple[str, ...]
) -> None:
    _most(flow.statements, (key, statement.text), weight)
    if statement.node is None:
        return
    for name in statement.tokens:
        folded = fold(name)
        if _most(flow.names, folded, weight * telling(name)):
            flow.cited[folded] = evidence
        if "." in name or "/" in name:
            _most(flow.strings, name, weight)
    for call in statement.calls:
        _most(flow.calls, (key, call), weight)


def _most(weights: dict[Name, float], key: Name, weight: float) -> bool:
    if weight <= max(LEAST, weights.get(key, 0.0)):
        return False
    weights[key] = weight
    return True
