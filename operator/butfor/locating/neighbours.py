"""How near each region of bad's tree is to the failure: on its stack, called from it, calling it, around it.

Weights are 0..1; a region keeps the strongest of its relations. A name that many regions share points at each of
them less (square root of their number), and at none of them beyond `MOST_NAMESAKES`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from butfor.evidence.predicates import FailurePredicate, Frame
from butfor.locating.flows import Flow
from butfor.locating.places import Place, Scene
from butfor.locating.routes import handlers
from butfor.locating.running import UNSEEN, Running
from butfor.locating.sources import MODULE
from butfor.locating.trees import Key, Tree

CALLED_IN_FLOW = 0.7
CALLED = 0.3
SECOND_HOP = 0.4
REFERS, MAKES = 0.4, 0.6
CLOSURE = 0.4
PARTED = 0.5
"""Of the first function that only failing requests run: whoever refers to it sent them there, or set that up."""
AROUND = {"class": 0.3, "module": 0.15}
RENDERED = 0.4
NAMED = 0.6
SERVES, SHARED = 0.6, 0.5
ROUTE_HOPS, ROUTE_FADE = 4, 0.6
"""Without a stack the calls from a handler are followed further: nothing else tells how deep the failure lies."""
SAME_FILE = 0.08
MOST_NAMESAKES = 8
LEAST = 0.03
DOTTED = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*")


@dataclass(frozen=True)
class Relation:
    """How near a region is, why, and what cites it."""

    weight: float
    why: str
    evidence: tuple[str, ...] = ()


class Neighbours:
    """The relations of regions; `of` answers for any region, by its file where nothing else is known."""

    def __init__(self, scene: Scene, flow: Flow, tree: Tree, running: Running | None = None) -> None:
        self._tree = tree
        self.relations: dict[Key, Relation] = {}
        self._files: dict[str, Relation] = {}
        for place in scene.places:
            self._stack(place)
        for (key, call), weight in sorted(flow.calls.items(), key=lambda item: -item[1]):
            self._calls(key, call, weight * CALLED_IN_FLOW, hops=2)
        for text, weight in flow.strings.items():
            self._renders(text, weight)
        for message in scene.messages:
            self._named(message)
        if not scene.stacks and scene.predicate:
            self._routed(scene.predicate, scene.healthy_routes)
        shown = {"stack", "sample"} & {stack.origin for stack in scene.stacks}
        if running is not None and (running.application or not shown):
            self._ran(running)

    def of(self, key: Key) -> Relation:
        """The relation of a region; a region of a file on the stack is near for that alone."""
        known = self.relations.get(key)
        return known or self._files.get(key[0]) or Relation(0.0, "")

    def _note(self, key: Key, weight: float, why: str, evidence: tuple[str, ...]) -> bool:
        known = self.relations.get(key)
        if weight < LEAST or (known and known.weight >= weight):
            return False
        self.relations[key] = Relation(min(1.0, weight), why, evidence)
        return True

    def _stack(self, place: Place) -> None:
        found = self._tree.locate(place.frame.file, place.frame.line)
        if found is None:
            return
        key, region = found
        why = {
            "stack": "on the stack",
            "sample": "on sampled stacks",
            "wait": "waits on sampled stacks",
            "graph": "on the failing path",
            "message": "says what was answered or logged",
        }[place.origin]
        depth = f", {place.depth} from the innermost" if place.depth else ""
        self._note(key, place.weight, why + depth, place.evidence)
        self._files.setdefault(key[0], Relation(SAME_FILE, "in a file on the stack", place.evidence))
        for outer, kind in _around(key):
            self._note(outer, place.weight * AROUND[kind], f"{kind} level around {region.name}", place.evidence)
        for call in region.calls:
            self._calls(key, call, place.weight * CALLED, hops=1)
        self._referrers(key, place)
        for peer, where in self._closures(key):
            self._note(peer, place.weight * CLOSURE, f"{where} {region.name}", place.evidence)

    def _closures(self, key: Key) -> Iterator[tuple[Key, str]]:
        """Functions within a function on the stack, and those beside one: they share its variables."""
        path, name = key
        by_name = self._tree.source(path).by_name
        outer = name.rpartition(".")[0]
        beside = outer if outer in by_name and by_name[outer].is_function else None
        for other in by_name:
            if name and other.startswith(f"{name}.") and by_name[name].is_function:
                yield (path, other), "within"
            elif beside and other.startswith(f"{beside}.") and other != name:
                yield (path, other), "beside"

    def _calls(self, caller: Key, call: str, weight: float, *, hops: int, fade: float = SECOND_HOP) -> None:
        targets = self._targets(caller, call)
        if not targets or len(targets) > MOST_NAMESAKES:
            return
        share = weight / math.sqrt(len(targets))
        evidence = self.of(caller).evidence
        for target in targets:
            new = self._note(target, share, f"called by {self._tree.dotted(caller)}", evidence)
            if new and hops > 1:
                region = self._tree.source(target[0]).by_name[target[1]]
                for onward in region.calls:
                    self._calls(target, onward, share * fade, hops=hops - 1, fade=fade)

    def _targets(self, caller: Key, call: str) -> list[Key]:
        name = call.removeprefix("self.")
        found = self._tree.by_last_name.get(name, [])
        owner = caller[1].rsplit(".", 1)[0]
        if call.startswith("self."):
            found = [k for k in found if k == (caller[0], f"{owner}.{name}")] or found
        elif caller[0] in {k[0] for k in found}:
            found = [k for k in found if k[0] == caller[0] and "." not in k[1]] or found
        return [self._constructor(key) for key in found if key != caller]

    def _constructor(self, key: Key) -> Key:
        made = (key[0], f"{key[1]}.__init__")
        return made if made[1] in self._tree.source(key[0]).by_name else key

    def _referrers(self, key: Key, place: Place) -> None:
        owner, _, name = key[1].rpartition(".")
        for word in {owner.rsplit(".", 1)[-1], name} - {""}:
            telling = self._tree.telling(word)
            users = [k for k in self._tree.mentioned_in.get(word, []) if k != key]
            if telling > 0 and users:
                share = place.weight * telling / math.sqrt(len(users))
                for user in users:
                    region = self._tree.source(user[0]).by_name[user[1]]
                    makes = word in region.calls
                    why = f"{'calls' if makes else 'refers to'} {word}"
                    self._note(user, share * (MAKES if makes else REFERS), why, place.evidence)

    def _ran(self, running: Running) -> None:
        """What ran is near; a function that did not run, though it was looked for, is near no more than half."""
        for key, known in self.relations.items():
            region = self._tree.source(key[0]).by_name.get(key[1])
            if running.near and region is not None and region.is_function and key not in running.near:
                self.relations[key] = replace(known, weight=known.weight * UNSEEN)
        for key, near in running.near.items():
            self._note(key, near.weight, near.why, running.evidence)
        for path, name in running.partings:
            line = self._tree.source(path).by_name[name].line
            place = Place(Frame(file=path, line=line, function=name), PARTED, 0, "graph", running.evidence)
            self._referrers((path, name), place)

    def _routed(self, predicate: FailurePredicate, healthy: list[tuple[str, str]]) -> None:
        """Handlers of the failing route, and what they call; what healthy requests pass too counts less."""
        before = dict(self.relations)
        for key, fit in handlers(self._tree, predicate.route, predicate.method).items():
            weight = SERVES * fit
            self._note(key, weight, f"serves {predicate.method} {predicate.route}", tuple(predicate.evidence[:2]))
            for call in self._tree.source(key[0]).by_name[key[1]].calls:
                self._calls(key, call, weight * CALLED_IN_FLOW, hops=ROUTE_HOPS, fade=ROUTE_FADE)
        routed = {key for key, known in self.relations.items() if before.get(key) is not known}
        for key in self._passed(healthy) & routed:
            known = self.relations[key]
            self.relations[key] = replace(known, weight=known.weight * SHARED, why=known.why + ", as healthy ones do")

    def _passed(self, healthy: list[tuple[str, str]]) -> set[Key]:
        edge = {key for method, route in healthy for key in handlers(self._tree, route, method)}
        passed = set(edge)
        for _ in range(ROUTE_HOPS):
            edge = {target for key in edge for target in self._called_by(key)} - passed
            passed |= edge
        return passed

    def _called_by(self, key: Key) -> set[Key]:
        found = [self._targets(key, call) for call in self._tree.source(key[0]).by_name[key[1]].calls]
        return {target for targets in found if len(targets) <= MOST_NAMESAKES for target in targets}

    def _named(self, message: str) -> None:
        for word in dict.fromkeys(DOTTED.findall(message)):
            last = word.rsplit(".", 1)[-1]
            found = [k for k in self._tree.by_last_name.get(last, []) if f".{k[1]}".endswith(f".{word}")]
            telling = NAMED if "." in word else NAMED * self._tree.telling(word)
            for key in found if len(found) <= MOST_NAMESAKES else []:
                weight = telling / math.sqrt(len(found))
                self._note(key, weight, "named by the exception's message", ())
                self._note(self._constructor(key), weight, "named by the exception's message", ())

    def _renders(self, text: str, weight: float) -> None:
        name = PurePosixPath(text).name
        if "." in name:
            for path in sorted(self._tree.files):
                if path == text or path.endswith("/" + text):
                    self._note((path, MODULE), weight * RENDERED, f"named by {text!r} on the path", ())


def _around(key: Key) -> Iterator[tuple[Key, str]]:
    path, name = key
    while "." in name:
        name = name.rsplit(".", 1)[0]
        yield (path, name), "class"
    if key[1] != MODULE:
        yield (path, MODULE), "module"
