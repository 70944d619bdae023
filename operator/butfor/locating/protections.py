"""Protections that a commit took away: guards, handlers and checks that kept this exception from leaving.

Of a request that never ends, an exit that was taken away: a `break`, an early `return`.

Also a handler put around a failing statement which catches relatives of the exception but not the exception itself:
whoever adds it takes over the answer for that family of errors.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from butfor.locating.edits import Edit
from butfor.locating.lexicons import Family, ancestry, families_of, fold, tokens
from butfor.locating.sources import Region, Statement
from butfor.locating.syntax import walk

GONE_HANDLER, GONE_CHECK, GONE_GUARD, NEAR_HANDLER, GONE_EXIT = 1.0, 0.9, 0.35, 0.7, 0.7
UNRELATED, FLOWS_ENOUGH = 0.4, 0.3


@dataclass(frozen=True)
class Loss:
    """A protection that is gone (or misses): how much it explains, 0..1, and the statement."""

    strength: float
    why: str


class Protections:
    """What protects against the failure's exceptions."""

    def __init__(self, types: Iterable[str], *, endless: bool = False) -> None:
        self.types, self.endless = list(types), endless
        self.families: list[Family] = families_of(self.types)
        self._ancestry = {name for t in self.types for name in ancestry(t)}
        self._checks = {check for family in self.families for check in family.checks}

    def lost(self, edit: Edit, kept: list[Statement], names: dict[str, float]) -> Iterator[Loss]:
        """What an edit removed; `kept` is what its commit added and what stands there at bad: that is not lost.

        `names` are those that flow into the failure: a guard that asks about none of them explains less.
        """
        still = {name for s in kept for name in caught(s)}
        conditions = [set(_conditions(s)) for s in kept if _is_guard(s)]
        for statement in edit.gone:
            gone = (caught(statement) - still) & self._ancestry
            if gone and self.types:
                yield Loss(GONE_HANDLER, f"no longer catches {', '.join(sorted(gone))}")
            elif self.endless and _leaves(statement, kept):
                yield Loss(GONE_EXIT, f"no longer leaves here: {statement.text[:100]}")
            elif _is_guard(statement):
                asked = set(_conditions(statement))
                if not any(asked <= other for other in conditions):
                    yield self._guard(statement, names)

    def _guard(self, statement: Statement, names: dict[str, float]) -> Loss:
        asked = {fold(t) for t in _conditions(statement)}
        flows = max((names.get(name, 0.0) for name in asked), default=0.0)
        related = UNRELATED + (1 - UNRELATED) * min(1.0, flows / FLOWS_ENOUGH)
        checks = self._checks & asked | self._checks & _operators(statement)
        strength, what = (GONE_CHECK, "check") if checks else (GONE_GUARD, "guard")
        return Loss(strength * related, f"{what} removed: {statement.text[:100]}")

    def near_misses(self, edit: Edit, region: Region, line: int) -> Iterator[Loss]:
        """Handlers that an edit put around a line, which catch the exception's relatives only."""
        statement = region.at(line)
        if statement is None or not self.types:
            return
        added = {s.text for s in edit.added if isinstance(s.node, ast.ExceptHandler)}
        around = set(statement.enclosing)
        for handler in region.statements:
            if handler.text in added and handler.enclosing and handler.enclosing[-1] in around:
                names = caught(handler)
                if names and not names & self._ancestry and self._related(names):
                    yield Loss(NEAR_HANDLER, f"handler added around it catches {', '.join(sorted(names))} only")

    def _related(self, names: set[str]) -> bool:
        own = {f.name for f in self.families}
        return any(f.name in own for f in families_of(names))


def caught(statement: Statement) -> set[str]:
    """The classes that a handler (or `suppress`) catches; `BaseException` for a bare one."""
    node = statement.node
    if isinstance(node, ast.ExceptHandler):
        return {"BaseException"} if node.type is None else {n.rsplit(".", 1)[-1] for n in tokens(node.type)}
    if isinstance(node, ast.With | ast.AsyncWith):
        calls = [i.context_expr for i in node.items if isinstance(i.context_expr, ast.Call)]
        return {n for c in calls if "suppress" in tokens(c.func) for a in c.args for n in tokens(a)}
    return set()


def _leaves(statement: Statement, kept: list[Statement]) -> bool:
    """Whether a removed statement left a loop (or, from within a condition, a function) and none like it is kept."""
    leaves = isinstance(statement.node, ast.Break | ast.Return) and len(statement.enclosing) > 0
    return leaves and all(other.text != statement.text or not other.enclosing for other in kept)


def _is_guard(statement: Statement) -> bool:
    return isinstance(statement.node, ast.If | ast.Assert | ast.While)


def _conditions(statement: Statement) -> list[str]:
    test = getattr(statement.node, "test", None)
    return tokens(test) if isinstance(test, ast.AST) else []


def _operators(statement: Statement) -> set[str]:
    test = getattr(statement.node, "test", None)
    found: set[str] = set()
    for node in walk(test) if isinstance(test, ast.AST) else ():
        if isinstance(node, ast.In | ast.NotIn):
            found.add("in")
        elif isinstance(node, ast.Is | ast.IsNot):
            found.add("none")
    return found
