"""The stage: rank all commits of good..bad, and the functions they changed, before anything is run.

A score is the sum of the terms' `weight * value`; the weights are roughly log likelihood ratios, so a softmax of the
scores is a posterior. A share of the probability (`KEPT`) stays spread over all commits by how much running code they
change, because a bisection must never meet a commit that the ranking called impossible.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from butfor.errors import UserError
from butfor.evidence.graphs import CausalGraph, Slice
from butfor.evidence.suspects import FunctionRef, Ranking, Suspect, Term
from butfor.evidence.timelines import Timelines
from butfor.locating.absences import Absences
from butfor.locating.blocks import Parser
from butfor.locating.clues import gather
from butfor.locating.flows import Flow, trace_back
from butfor.locating.givers import givers_first
from butfor.locating.histories import History, load
from butfor.locating.introductions import Introductions
from butfor.locating.lexicons import Telling, parts
from butfor.locating.messages import spoken
from butfor.locating.neighbours import Neighbours
from butfor.locating.places import Origin, Scene, called, survey
from butfor.locating.protections import Protections
from butfor.locating.reaching import Reach
from butfor.locating.running import observe
from butfor.locating.signs import sent
from butfor.locating.terms import Setting, terms_of
from butfor.locating.trees import Key, Tree
from butfor.ports.repositories import Commit, Repository

KEPT = 0.1
DOUBT: dict[Origin, float] = {"stack": 1.0, "sample": 1.0, "message": 1.5, "graph": 1.5, "wait": 2.0}
UNKNOWN = 2.0
LEAST_SUBSTANCE = 0.02
MOST_FUNCTIONS = 10
MOST_FILES = 20


def locate(
    graph: CausalGraph,
    cut: Slice,
    timelines: Timelines,
    repository: Repository,
    good: str,
    bad: str,
    *,
    directory: str = ".",
    without: frozenset[str] = frozenset(),
) -> Ranking:
    """Rank every commit of `good..bad`. `without` leaves sources out: `traces`, `graph`, `history`.

    Raises `UserError` where the range is empty or a revision is unknown.
    """
    good, bad = repository.resolve(good), repository.resolve(bad)
    with _without_collector():
        return _ranked(graph, cut, timelines, repository, (good, bad), directory, without)


@contextmanager
def _without_collector() -> Iterator[None]:
    # syntax trees hold no cycles worth finding, and walking millions of their nodes again and again is the dear part
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _ranked(
    graph: CausalGraph, cut: Slice, timelines: Timelines, repository: Repository, ends: tuple[str, str],
    directory: str, without: frozenset[str],
) -> Ranking:  # fmt: skip
    (good, bad), parser = ends, Parser()
    history = load(repository, good, bad, parser)
    if not history.commits:
        raise UserError(f"{good[:12]}..{bad[:12]} holds no commits; give good the older revision")
    graph = CausalGraph() if "graph" in without else graph
    setting = _setting(graph, cut, timelines, repository, history, (good, bad), directory, parser, without)
    terms = {c.sha: terms_of(setting, c.sha, without=without) for c in history.commits}
    scores = {sha: sum(t.weight * t.value for t in found) for sha, found in terms.items()}
    chances = _chances(scores, terms, _doubt(setting.scene))
    order = {c.sha: i for i, c in enumerate(history.commits)}
    ranked = sorted(history.commits, key=lambda c: (-scores[c.sha], order[c.sha]))
    suspects = [_suspect(setting, c, terms[c.sha], scores[c.sha], chances[c.sha]) for c in ranked]
    return Ranking(
        suspects=suspects, functions=_functions(setting, suspects), candidates=len(suspects), good=good, bad=bad,
        notes=_notes(setting, without),
    )  # fmt: skip


def _setting(
    graph: CausalGraph, cut: Slice, timelines: Timelines, repository: Repository, history: History,
    ends: tuple[str, str], directory: str, parser: Parser, without: frozenset[str],
) -> Setting:  # fmt: skip
    reach = Reach(graph)
    traces = "traces" not in without
    scene = survey(timelines, graph, reach, traces=traces)
    touched = [history.at_bad(change.name) for c in history.commits for change in history.changes.get(c.sha, [])]
    tree = Tree(repository, ends[1], [*(p.frame.file for p in scene.places), *touched], directory, parser)
    running = observe(timelines, tree) if traces else None
    if traces:
        scene = replace(scene, places=[*scene.places, *spoken(timelines, scene, tree)])
    if running is not None and running.application:
        scene = called(scene)
    flow = Flow() if "graph" in without and "traces" in without else trace_back(scene, tree, tree.telling)
    protections = Protections(scene.types, endless=_endless(scene))
    return Setting(
        history=history, tree=tree, scene=scene, flow=flow,
        neighbours=Neighbours(scene, flow, tree, running),
        introductions=Introductions(history, tree, repository, *ends), protections=protections,
        absences=Absences(scene, tree.telling),
        clues=gather(
            timelines, graph, cut, reach, protections.families, tree.telling, traces=traces, changed=_changed(history)
        ),
        signs=sent(timelines, history.edits.values()) if traces else {},
    )  # fmt: skip


def _changed(history: History) -> Telling:
    """How telling a word is among the changes of the range: one document per commit that changes a statement."""
    telling = Telling()
    for edits in history.edits.values():
        statements = [s for edit in edits for s in (*edit.fresh, *edit.gone)]
        if statements:
            telling.add(word for s in statements for token in s.tokens for word in (token, *parts(token)))
    return telling


def _endless(scene: Scene) -> bool:
    """Whether the failure is that something takes too long or never ends."""
    predicate = scene.predicate
    return predicate is not None and (predicate.ended == "timeout" or predicate.slower_than_s is not None)


def _doubt(scene: Scene) -> float:
    """How far the scores are trusted: 1 as log likelihood ratios, more where nothing raised or ran in the open."""
    return min((DOUBT[place.origin] for place in scene.places), default=UNKNOWN)


def _chances(scores: dict[str, float], terms: dict[str, list[Term]], doubt: float) -> dict[str, float]:
    top = max(scores.values())
    raw = {sha: math.exp((score - top) / doubt) for sha, score in scores.items()}
    total = sum(raw.values())
    substance = {sha: LEAST_SUBSTANCE + found[-1].value for sha, found in terms.items()}
    spread = sum(substance.values())
    return {sha: (1 - KEPT) * raw[sha] / total + KEPT * substance[sha] / spread for sha in scores}


def _suspect(setting: Setting, commit: Commit, terms: list[Term], score: float, chance: float) -> Suspect:
    keys = _regions(setting, commit.sha)
    return Suspect(
        commit=commit.sha,
        subject=commit.subject,
        author_date=commit.author_date,
        score=round(score, 6),
        probability=chance,
        features=terms,
        evidence=list(dict.fromkeys(e for t in terms for e in t.evidence)),
        functions=_references(setting, keys)[:MOST_FUNCTIONS],
        files=sorted({change.name for change in setting.history.changes.get(commit.sha, [])})[:MOST_FILES],
    )


def _regions(setting: Setting, sha: str) -> list[Key]:
    placed = [one for one in setting.introductions.by_commit[sha] if one.known]
    near = {one.key: (-setting.neighbours.of(one.key).weight, -one.edit.size, one.key) for one in placed}
    return givers_first(placed, sorted(near, key=lambda key: near[key]))


def _references(setting: Setting, keys: Iterable[Key]) -> list[FunctionRef]:
    return [found for key in keys if key[1] and (found := setting.tree.reference(key))]


def _functions(setting: Setting, suspects: list[Suspect]) -> list[FunctionRef]:
    mass: dict[Key, float] = {}
    for suspect in suspects:
        for key in _regions(setting, suspect.commit):
            weight = setting.neighbours.of(key).weight + LEAST_SUBSTANCE
            mass[key] = mass.get(key, 0.0) + suspect.probability * weight
    return _references(setting, sorted(mass, key=lambda key: (-mass[key], key)))[:MOST_FUNCTIONS]


def _notes(setting: Setting, without: frozenset[str]) -> list[str]:
    notes = [f"ranked without {name}" for name in sorted(without)]
    if not setting.scene.stacks:
        notes.append("no stack in the repository: ranked by what tells failing from healthy requests and by the graph")
    return notes
