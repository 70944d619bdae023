"""The terms of a commit's score: each a value 0..1 with the graph nodes or history facts that it cites.

stack_hits             it introduced statements that stand on the failing (or sampled) stacks
novelty                few commits of the range touched what it touched near the failure
divergence             it changed what tells failing from healthy requests: divergent nodes, telling words
critical_path_overlap  it changed functions near the failure: on the stack, called from it, calling it
data_flow              it changed what the failing statements depend on, or defines a name that flows there
protection             it removed a guard, handler or check that held this exception back, or what the exception misses
substance              how much code that runs it changed: none at all (docs, tests, CI) is far less likely
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from butfor.evidence.suspects import Term
from butfor.locating.absences import Absences
from butfor.locating.clues import Clue
from butfor.locating.definitions import MENTIONED, defines
from butfor.locating.flows import Flow
from butfor.locating.histories import History
from butfor.locating.introductions import Introductions, Placed
from butfor.locating.kinds import kind_of
from butfor.locating.lexicons import fold, parts, words
from butfor.locating.neighbours import Neighbours
from butfor.locating.places import Scene
from butfor.locating.protections import Protections
from butfor.locating.signs import signs
from butfor.locating.sources import MODULE
from butfor.locating.trees import Tree

WEIGHTS = {
    "stack_hits": 3.0,
    "novelty": 1.5,
    "divergence": 1.5,
    "critical_path_overlap": 2.5,
    "data_flow": 1.5,
    "protection": 2.5,
    "substance": 2.0,
}
READ = 0.8
"""Mentioning what clients and operators set is what code does that is concerned with it."""
SUBJECT = 0.5
MOST_NAMES = 3
MOST_CITED = 8
MOST_REASONS = 3


@dataclass(frozen=True)
class Hit:
    """A reason for a term's value."""

    strength: float
    why: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setting:
    """What all terms look at."""

    history: History
    tree: Tree
    scene: Scene
    flow: Flow
    neighbours: Neighbours
    introductions: Introductions
    protections: Protections
    absences: Absences
    clues: dict[str, Clue]
    """By folded word: what tells failing from healthy requests."""
    signs: dict[str, Clue]
    """By sign: what only failing requests send."""


def terms_of(setting: Setting, sha: str, *, without: frozenset[str]) -> list[Term]:
    """All terms of one commit, in the order of `WEIGHTS`."""
    placed = setting.introductions.by_commit[sha]
    makers: dict[str, Callable[[Setting, str, list[Placed]], Iterable[Hit]]] = {
        "stack_hits": _stack_hits,
        "novelty": _novelty,
        "divergence": _divergence,
        "critical_path_overlap": _overlap,
        "data_flow": _data_flow,
        "protection": _protection,
        "substance": _substance,
    }
    off = {"stack_hits", "novelty", "protection"} if "history" in without else set()
    return [_term(name, [] if name in off else make(setting, sha, placed)) for name, make in makers.items()]


def _term(name: str, hits: Iterable[Hit]) -> Term:
    """The best reasons are joined as independent ones: 1 - product of (1 - strength).

    No more than `MOST_REASONS` are: weak ones grow with the size of a commit, and say little but that it is large.
    """
    best = sorted(hits, key=lambda h: -h.strength)[:MOST_REASONS]
    value = 1.0 - math.prod(1.0 - min(1.0, max(0.0, h.strength)) for h in best)
    cited = list(dict.fromkeys(e for h in best for e in h.evidence))[:MOST_CITED]
    detail = "; ".join(dict.fromkeys(h.why for h in best))
    return Term(name=name, weight=WEIGHTS[name], value=round(value, 6), evidence=cited, detail=detail)


def _stack_hits(setting: Setting, sha: str, _placed: list[Placed]) -> Iterator[Hit]:
    for place in setting.scene.places:
        found = setting.tree.locate(place.frame.file, place.frame.line)
        statement = found[1].at(place.frame.line) if found else None
        if found is None or statement is None:
            continue
        credit = setting.introductions.of(found[0], statement).get(sha, 0.0)
        if credit:
            where = f"{place.frame.file}:{place.frame.line}"
            yield Hit(place.weight * credit, f"introduced {where}", (*place.evidence, f"line:{where}"))


def _near(setting: Setting, placed: list[Placed]) -> Iterator[tuple[Placed, float, Hit]]:
    for one in placed:
        relation = setting.neighbours.of(one.key)
        if relation.weight > 0 and one.edit.size:
            why = f"{setting.tree.dotted(one.key)} {relation.why}"
            cited = (*relation.evidence, f"commit:{one.commit[:12]}:{one.edit.path}")
            yield one, relation.weight, Hit(relation.weight, why, cited)


def _taken(setting: Setting, placed: list[Placed]) -> list[tuple[Placed, Hit]]:
    """What the commit took away that the exception says is missing: the failure is about what stood there."""
    return [
        (one, Hit(loss.strength, loss.why, (*loss.evidence, f"commit:{one.commit[:12]}:{one.edit.path}")))
        for one, loss in setting.absences.taken(placed)
    ]


def _nearest(setting: Setting, placed: list[Placed]) -> Iterator[tuple[Placed, float, Hit]]:
    yield from _near(setting, placed)
    yield from ((one, hit.strength, hit) for one, hit in _taken(setting, placed))


def _novelty(setting: Setting, _sha: str, placed: list[Placed]) -> Iterator[Hit]:
    best = Hit(0.0, "")
    for one, weight, hit in _nearest(setting, placed):
        touching = len({p.commit for p in setting.introductions.by_region[one.key]})
        if weight / touching > best.strength:
            best = Hit(weight / touching, f"one of {touching} that touch {hit.why}", hit.evidence)
    yield best


def _overlap(setting: Setting, _sha: str, placed: list[Placed]) -> Iterator[Hit]:
    for one, weight, hit in _nearest(setting, placed):
        yield Hit(weight * (1 - 0.5**one.edit.size), hit.why, hit.evidence)


def _protection(setting: Setting, _sha: str, placed: list[Placed]) -> Iterator[Hit]:
    yield from (hit for _, hit in _taken(setting, placed))
    brought = [s for one in placed for s in one.edit.added]
    for one, weight, hit in _near(setting, placed):
        region = setting.tree.source(one.key[0]).by_name.get(one.key[1])
        kept = [*brought, *(region.statements if region else [])]
        for loss in setting.protections.lost(one.edit, kept, setting.flow.names):
            yield Hit(math.sqrt(weight) * loss.strength, f"{loss.why} ({hit.why})", hit.evidence)
        for place in setting.scene.places:
            if region and place.frame.file == one.key[0] and region.line <= place.frame.line <= region.end:
                for loss in setting.protections.near_misses(one.edit, region, place.frame.line):
                    yield Hit(math.sqrt(place.weight) * loss.strength, loss.why, hit.evidence)


def _data_flow(setting: Setting, sha: str, placed: list[Placed]) -> Iterator[Hit]:
    for one in placed:
        cited = (f"commit:{sha[:12]}:{one.edit.path}",)
        for statement in one.edit.fresh:
            weight = setting.flow.statements.get((one.key, statement.text), 0.0)
            if weight:
                yield Hit(
                    weight * setting.introductions.newness(one, statement),
                    f"changed what flows there: {statement.text[:80]}",
                    cited,
                )
    yield from _names(setting, sha, placed)


def _names(setting: Setting, sha: str, placed: list[Placed]) -> Iterator[Hit]:
    best: dict[str, Hit] = {}
    for one in placed:
        near = setting.neighbours.of(one.key).weight
        for statement in (*one.edit.fresh, *one.edit.gone):
            for name, strength in defines(statement, one.key[1] == MODULE, near).items():
                weight = setting.flow.names.get(name, 0.0) * strength
                if weight > (best[name].strength if name in best else 0.0):
                    why = f"{'defines' if strength > MENTIONED else 'mentions'} {name}: {statement.text[:80]}"
                    cited = (*setting.flow.cited.get(name, ()), f"commit:{sha[:12]}:{one.edit.path}")
                    best[name] = Hit(weight, why, cited)
    yield from sorted(best.values(), key=lambda h: -h.strength)[:MOST_NAMES]


def _divergence(setting: Setting, sha: str, placed: list[Placed]) -> Iterator[Hit]:
    best: dict[str, Hit] = {}
    for one in placed:
        for statement in (*one.edit.fresh, *one.edit.gone):
            for name, defined in defines(statement, True, 1.0).items():
                for word, share in _spellings(name):
                    clue = setting.clues.get(word)
                    concerned = max(defined, READ) if clue and clue.read else defined
                    strength = clue.strength * concerned * share if clue else 0.0
                    if clue and strength > (best[word].strength if word in best else 0.0):
                        cited = (*clue.evidence, f"commit:{sha[:12]}:{one.edit.path}")
                        best[word] = Hit(strength, f"{clue.why}: {statement.text[:80]}", cited)
            for sign in signs(statement) & setting.signs.keys():
                sent = setting.signs[sign]
                cited = (*sent.evidence, f"commit:{sha[:12]}:{one.edit.path}")
                best[sign] = Hit(sent.strength, f"{sent.why}: {statement.text[:80]}", cited)
    if any(one.edit.size for one in placed):
        _in_subject(setting, sha, best)
    yield from sorted(best.values(), key=lambda h: -h.strength)[:3]


def _in_subject(setting: Setting, sha: str, best: dict[str, Hit]) -> None:
    """What the author says that the commit is about counts like a mention in its code."""
    for word in words(setting.history.subject(sha)):
        clue = setting.clues.get(fold(word))
        if clue and clue.strength * SUBJECT > (best[clue.word].strength if clue.word in best else 0.0):
            cited = (*clue.evidence, f"commit:{sha[:12]}")
            best[clue.word] = Hit(clue.strength * SUBJECT, f"{clue.why}: named by the commit's subject", cited)


def _spellings(name: str) -> list[tuple[str, float]]:
    return [(fold(name), 1.0), *((part, 0.6) for part in parts(name) if part != fold(name))]


def _substance(setting: Setting, sha: str, placed: list[Placed]) -> Iterator[Hit]:
    kinds = {kind_of(change.name) for change in setting.history.changes.get(sha, [])}
    code = sum(one.edit.size for one in placed if kind_of(one.edit.path) == "code")
    cited = (f"commit:{sha[:12]}",)
    if code:
        yield Hit(0.7 + 0.3 * min(1.0, math.log1p(code) / math.log(100)), f"{code} statements of code changed", cited)
    elif kinds & {"data"}:
        yield Hit(0.6, "changes data, templates or configuration only", cited)
    elif kinds & {"dependency"}:
        yield Hit(0.3, "changes dependencies only", cited)
    else:
        yield Hit(0.0, "changes nothing that runs", cited)
