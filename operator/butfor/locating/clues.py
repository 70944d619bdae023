"""What tells failing from healthy requests, as words that code may contain, each with why and what cites it.

Words come from the requests themselves (route, path, query, method, header names, answer status) where no healthy
request has them, from the graph's divergent and exogenous nodes, from what tunes the exception's family. Where
there is none, they come from the options that the service was started with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl

from butfor.evidence.graphs import CausalGraph, Node, Slice
from butfor.evidence.timelines import RequestSeen, Timelines
from butfor.locating.commandlines import options
from butfor.locating.lexicons import Family, Telling, concerns, fold, status_words
from butfor.locating.reaching import Reach

WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]+|\d{3}")
REQUEST, STATUS, NODE, FAMILY, ANSWER = 0.6, 0.5, 0.7, 0.5, 0.6
STARTED = 0.25
SORT = 0.5
"""That code is concerned with values of a sort says less than that it names the field."""
MOST_REQUESTS = 200
LONGEST_VALUE = 200
LONGEST_QUERY = 8192
MOST_VALUES = 20
VALUED = ("config", "flag")
SET = ("input", "config", "flag")
"""What is set from outside: code far from the failure may read it, so the length of its path says nothing."""
NAMED = ("query", "header", "body.form", "body")
"""Places of a request in which fields have names."""
EXOGENOUS = ("config", "flag", "input", "downstream", "resource", "code_change")


@dataclass(frozen=True)
class Clue:
    """A word, how far it points (0..1), why, and what cites it."""

    word: str
    strength: float
    why: str
    evidence: tuple[str, ...] = ()
    compared: bool = False
    """Whether it was compared with healthy requests of its own route: that others have the word says nothing then."""
    read: bool = False
    """Whether clients or operators give it its value: code that is concerned with it reads it and defines nothing."""


def gather(
    timelines: Timelines, graph: CausalGraph, cut: Slice, reach: Reach, families: list[Family], telling: Telling,
    *, traces: bool = True, changed: Telling | None = None,
) -> dict[str, Clue]:  # fmt: skip
    """Clues by folded word, the strongest of each; a word that most code has says little.

    What was compared points at a commit the more, the fewer commits of the range name it: that is what `changed`
    knows, where `telling` knows the words of all code. What failing and healthy requests have in common, the options
    that the service was started with, speaks only where nothing else does.
    """
    found: dict[str, Clue] = {}
    usual = _usual(timelines) | _everywhere(graph)
    clues = [*_nodes(timelines, graph, cut, reach), *_families(families)]
    clues += _requests(timelines, usual) if traces else ()
    for clue in clues or (_started(timelines) if traces else ()):
        folded = fold(clue.word)
        rare = changed if clue.read and changed else telling
        strength = 0.0 if folded in usual and not clue.compared else clue.strength * rare(clue.word)
        if strength > 0.02 and (folded not in found or found[folded].strength < strength):
            found[folded] = replace(clue, word=folded, strength=strength)
    return found


def _usual(timelines: Timelines) -> set[str]:
    """Words of healthy requests and names of services: they tell nothing."""
    healthy = _picked(timelines, timelines.healthy)
    services = {fold(r.service) for r in timelines.requests}
    return services | {fold(w) for r in healthy for w in _words(timelines, r)}


def _everywhere(graph: CausalGraph) -> set[str]:
    """Words of the graph's plain spans and requests, those that healthy traces have too."""
    divergent = {d.node for d in graph.divergence}
    plain = (n for n in graph.nodes if n.kind in ("span", "request") and n.id not in divergent and n.unusual == 0)
    return {fold(word) for node in plain for word in WORD.findall(node.label[:LONGEST_VALUE])}


def _picked(timelines: Timelines, indices: list[int]) -> list[RequestSeen]:
    return [timelines.requests[i] for i in indices[:MOST_REQUESTS] if i < len(timelines.requests)]


def _requests(timelines: Timelines, usual: set[str]) -> Iterator[Clue]:
    failing = _picked(timelines, [*timelines.failing, *timelines.rivals])
    healthy = _picked(timelines, timelines.healthy)
    statuses = {r.status for r in healthy}
    predicate = timelines.predicate
    for word in WORD.findall(predicate.answer.value) if predicate and predicate.answer else ():
        yield Clue(
            word, ANSWER, f"{word!r} is what the answer is wrong in", tuple(predicate.evidence[:2] if predicate else ())
        )
    for request in failing:
        for word in _words(timelines, request):
            if fold(word) not in usual:
                yield Clue(word, REQUEST, f"only failing requests have {word!r}", (request.span,))
        if request.status not in statuses and request.status is not None and request.status >= 400:
            for word in status_words(request.status):
                yield Clue(word, STATUS, f"answered {request.status}", (request.span,))


def _words(timelines: Timelines, request: RequestSeen) -> Iterator[str]:
    yield request.method
    yield from WORD.findall(f"{request.route} {request.target}"[: 10 * LONGEST_VALUE])
    payloads = timelines.telemetry.payloads
    if request.payload is not None and request.payload < len(payloads):
        for name, value in payloads[request.payload].request_headers:
            yield name
            yield from WORD.findall(value[:LONGEST_VALUE])


def _nodes(timelines: Timelines, graph: CausalGraph, cut: Slice, reach: Reach) -> Iterator[Clue]:
    divergent = {d.node: d.subject for d in graph.divergence}
    for node in graph.nodes:
        weight = reach.strength(node.id)
        exogenous = node.id in cut.nodes or (node.exogenous and node.kind in EXOGENOUS)
        if weight and (node.id in divergent or (exogenous and node.unusual > 0)):
            evidence = (node.id, *reach.cited(node.id))
            sliced = exogenous and node.id in cut.nodes
            read = sliced and node.kind in SET
            strength = NODE * (1.0 if read else weight) * max(0.3, node.unusual)
            why, sent = f"{node.kind} {node.label!r} diverges", _sent(timelines, node) if read else ""
            for word in WORD.findall(f"{_described(node, divergent.get(node.id, ''))} {sent}"):
                yield Clue(word, strength, why, evidence, compared=sliced, read=read)
            for word in concerns(node.id.removeprefix("input:"), node.value or "") if read else ():
                yield Clue(word, strength * SORT, why, evidence, compared=True, read=True)


def _described(node: Node, subject: str) -> str:
    """What a node is about, in the words of its service: never those in which the graph describes it to people."""
    values = " ".join(str(v) for v in (node.value, node.healthy_value) if v) if node.kind in VALUED else ""
    if node.frame is not None:
        return node.frame.function
    if node.kind == "kernel":  # the call that failed or what was waited for, its errno, paths and peers
        said = [node.facts.get(name, "") for name in ("call", "awaited", "errno")]
        return " ".join(map(str, [*said, *node.facts.get("targets", ())]))[: 10 * LONGEST_VALUE]
    name = _dimension(node) if node.kind == "input" else node.label
    return f"{name} {subject} {values}"[: 10 * LONGEST_VALUE]


def _sent(timelines: Timelines, node: Node) -> str:
    """What failing requests have in the header or query field that an input node is about."""
    place, _, name = node.id.removeprefix("input:").rstrip("=").partition(":")
    failing, payloads = _picked(timelines, timelines.failing), timelines.telemetry.payloads
    if place == "query":
        found = [v for r in failing for k, v in parse_qsl(r.target.partition("?")[2][:LONGEST_QUERY]) if k == name]
    elif place == "header":
        asked = [payloads[r.payload] for r in failing if r.payload is not None and r.payload < len(payloads)]
        found = [v for payload in asked for k, v in payload.request_headers if k.lower() == name]
    else:
        found = []
    return " ".join(value[:LONGEST_VALUE] for value in dict.fromkeys(found[:MOST_VALUES]))


def _dimension(node: Node) -> str:
    """The field that an input node is about: the last part of `input:place:field=`; a body's kind is its media type."""
    place, _, field = node.id.removeprefix("input:").rstrip("=").partition(":")
    if place == "body.kind":
        return (node.value or "").removeprefix("application/")
    return field if place in NAMED else ""


def _started(timelines: Timelines) -> Iterator[Clue]:
    for word, argument in options(timelines):
        yield Clue(word, STARTED, f"the service is started with {argument!r}", ("manifest",), compared=True, read=True)


def _families(families: list[Family]) -> Iterator[Clue]:
    for family in families:
        for word in sorted(family.causes):
            yield Clue(word, FAMILY, f"{word} tunes {family.name} failures")
