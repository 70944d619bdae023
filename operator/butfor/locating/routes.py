"""From a request's route to the code that serves it, where no stack says so.

A string of the code that reads like the route (parameters, converters and regular expressions taken as wildcards)
names the handler: the function that it decorates, or the functions and classes that stand in the same statement.
No expression of the code under investigation is ever evaluated as a pattern.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from butfor.locating.lexicons import tokens
from butfor.locating.sources import Statement
from butfor.locating.syntax import parts_of
from butfor.locating.trees import Key, Tree

PARAMETER = re.compile(r"\{[^}]*\}|<[^>]*>|:\w+|\[[^\]]*\][*+?]?|\.[*+]\??")
LONGEST = 300
MOST_HANDLERS = 12


def template(text: str) -> tuple[str, ...]:
    """Path segments of a route as code or telemetry writes it; `*` stands for anything."""
    path = text if "(" in text else text.partition("?")[0]
    plain = PARAMETER.sub("*", _without_groups(path))
    plain = plain.replace("\\", "").strip("^$")
    return tuple("*" if "*" in part else part for part in plain.strip("/").split("/"))


def _without_groups(text: str) -> str:
    """Regular expression groups become `*`, optional ones vanish; nesting is counted, nothing is compiled."""
    out: list[str] = []
    depth = 0
    for index, sign in enumerate(text):
        if sign == "(":
            depth += 1
        elif sign == ")" and depth:
            depth -= 1
            if not depth and text[index + 1 : index + 2] not in ("?", "*"):
                out.append("*")
        elif not depth and not (sign in "?*" and text[index - 1 : index] == ")"):
            out.append(sign)
    return "".join(out)


def serves(pattern: tuple[str, ...], route: tuple[str, ...]) -> float:
    """How well a pattern fits a route, 0 (not) to 1 (every segment is the same)."""
    if len(pattern) != len(route):
        return 0.0
    pairs = list(zip(pattern, route, strict=True))
    if not all(a == b or "*" in (a, b) for a, b in pairs):
        return 0.0
    return (1 + sum(a == b for a, b in pairs)) / (1 + len(pairs))


def handlers(tree: Tree, route: str, method: str) -> dict[Key, float]:
    """Regions that serve a route, with how well (0..1); the best fitting only."""
    wanted = template(route)
    found: dict[Key, float] = {}
    for key, region in tree.regions():
        for statement in region.statements:
            for text, beside in _entries(statement):
                fit = serves(template(text), wanted)
                decorates = isinstance(statement.node, ast.expr)
                named = [key] if decorates else _named(tree, beside, method) if fit else []
                for handler in named if fit else ():
                    found[handler] = max(found.get(handler, 0.0), fit)
    best = max(found.values(), default=0.0)
    kept = {key: fit for key, fit in found.items() if fit == best}
    return kept if len(kept) <= MOST_HANDLERS else {}


def _entries(statement: Statement) -> Iterator[tuple[str, list[ast.expr]]]:
    """Paths of a statement with what stands beside them: a call's other arguments, a tuple's, a mapping's value."""
    for node in parts_of(statement.node) if statement.node else ():
        for group in _groups(node):
            for one in group:
                if (text := _path(one)) is not None:
                    yield text, [other for other in group if other is not one]


def _groups(node: ast.AST) -> list[list[ast.expr]]:
    match node:
        case ast.Call():
            return [[*node.args, *(k.value for k in node.keywords)]]
        case ast.Tuple() | ast.List():
            return [node.elts]
        case ast.Dict():
            return [[key, value] for key, value in zip(node.keys, node.values, strict=True) if key]
        case _:
            return []


def _path(node: ast.expr) -> str | None:
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) <= LONGEST):
        return None
    text = node.value.removeprefix("^")
    return text if text.startswith(("/", "\\/")) else None


def _named(tree: Tree, beside: list[ast.expr], method: str) -> list[Key]:
    found: list[Key] = []
    for word in dict.fromkeys(token for node in beside for token in tokens(node)):
        for path, name in tree.by_last_name.get(word, []):
            methods = [f"{name}.{last}" for last in (method.lower(), "__call__")]
            known = [one for one in methods if one in tree.source(path).by_name]
            found += [(path, one) for one in (known or [name])]
    return found
