"""Where the state comes from that code was given: attributes set by other methods, parameters passed by callers.

A stack shows who called; it does not show who built the object whose method failed, or with which values.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Iterator
from dataclasses import dataclass

from butfor.locating.sources import Region
from butfor.locating.statements import Statement
from butfor.locating.syntax import parts_of, used
from butfor.locating.trees import Key, Tree

MOST_ORIGINS = 8
LEAST = 0.1
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Origin:
    """A statement that gave a value, how much of it matters (0..1), and the local names that the value is made of."""

    key: Key
    statement: Statement
    weight: float
    names: frozenset[str]


def origins(tree: Tree, found: tuple[Key, Region], wanted: dict[str, float], *, passed: bool) -> Iterator[Origin]:
    """Where wanted names of a region come from: its object's attributes and, with `passed`, its parameters.

    What many places set points at each of them less (square root of their number), and at none beyond MOST_ORIGINS.
    """
    key, region = found
    for name, weight in sorted(wanted.items(), key=lambda item: (-item[1], item[0])):
        if weight >= LEAST and name.startswith("."):
            yield from _shared(weight, list(_setters(tree, key, name)))
    header = next((s for s in region.statements if isinstance(s.node, FunctionNode)), None) if passed else None
    if header is not None and isinstance(header.node, FunctionNode):
        for name in _parameters(header.node):
            if wanted.get(name, 0.0) >= LEAST:
                yield from _shared(wanted[name], list(_arguments(tree, key, header.node, name)))


def _shared(weight: float, found: list[tuple[Key, Statement, frozenset[str]]]) -> Iterator[Origin]:
    if len(found) <= MOST_ORIGINS:
        for key, statement, names in found:
            yield Origin(key, statement, weight / math.sqrt(len(found)), names)


def _setters(tree: Tree, key: Key, attribute: str) -> Iterator[tuple[Key, Statement, frozenset[str]]]:
    """Statements of the same class's other methods that set an attribute."""
    path, name = key
    owner = name.rpartition(".")[0]
    for region in tree.source(path).regions if owner else ():
        if region.name.rpartition(".")[0] == owner and region.name != name:
            for statement in region.statements:
                if attribute in statement.said.defined:
                    yield (path, region.name), statement, _value(statement, attribute)


def _value(statement: Statement, attribute: str) -> frozenset[str]:
    """The names that are assigned to one attribute: `self.a, self.b = a, b` gives b only what stands in its place."""
    node = statement.node
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
        for target in node.targets:
            if isinstance(target, ast.Tuple) and len(target.elts) == len(node.value.elts):
                pairs = zip(target.elts, node.value.elts, strict=True)
                own = [v for t, v in pairs if isinstance(t, ast.Attribute) and f".{t.attr}" == attribute]
                return frozenset(used(own[0])) if own else frozenset()
    return statement.said.used


def _parameters(node: FunctionNode) -> list[str]:
    named = node.args
    return [a.arg for a in (*named.posonlyargs, *named.args, *named.kwonlyargs) if a.arg not in ("self", "cls")]


def _arguments(tree: Tree, key: Key, node: FunctionNode, name: str) -> Iterator[tuple[Key, Statement, frozenset[str]]]:
    """Statements that call a function (or make its class's objects) and pass a parameter."""
    owner, _, last = key[1].rpartition(".")
    called = owner.rpartition(".")[2] if last == "__init__" else last
    positional = [a.arg for a in (*node.args.posonlyargs, *node.args.args) if a.arg not in ("self", "cls")]
    place = positional.index(name) if name in positional else None
    for user in tree.mentioned_in.get(called, []):
        for statement in tree.source(user[0]).by_name[user[1]].statements:
            if called in {call.removeprefix("self.") for call in statement.calls} and user != key:
                yield from ((user, statement, frozenset(used(a))) for a in _passed(statement, called, name, place))


def _passed(statement: Statement, called: str, name: str, place: int | None) -> Iterator[ast.expr]:
    for node in parts_of(statement.node) if statement.node else ():
        if isinstance(node, ast.Call) and _last(node.func) == called:
            yield from (k.value for k in node.keywords if k.arg == name)
            if place is not None and place < len(node.args) and not isinstance(node.args[place], ast.Starred):
                yield node.args[place]


def _last(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
