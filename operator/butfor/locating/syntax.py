"""What a statement is made of: its own parts, what it calls, reads and binds."""

from __future__ import annotations

import ast
from collections.abc import Iterable

from butfor.locating.sources import Statement


def own(node: ast.AST) -> list[ast.AST]:  # noqa: PLR0911 (one return per kind of node)
    """The parts of a statement that are its own: a compound statement's header without its body."""
    match node:
        case ast.If() | ast.While():
            return [node.test]
        case ast.For() | ast.AsyncFor():
            return [node.target, node.iter]
        case ast.With() | ast.AsyncWith():
            return list(node.items)
        case ast.Try() | ast.TryStar():
            return []
        case ast.ExceptHandler():
            return [node.type] if node.type else []
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return [node.args]
        case ast.ClassDef():
            return [*node.bases, *node.keywords]
        case ast.Match():
            return [node.subject]
        case ast.match_case():
            return [node.pattern]
        case _:
            return [node]


def called(node: ast.AST) -> Iterable[str]:
    """The last names of what a piece of code calls; `self.` is kept as a mark of a method of the same class."""
    for child in ast.walk(node):
        if isinstance(child, ast.Call):
            yield from _callee(child.func)
            for argument in child.args:
                # a function that is passed on is as good as called: executors, callbacks, decorators
                yield from _callee(argument) if isinstance(argument, ast.Name | ast.Attribute) else ()


def _callee(node: ast.expr) -> Iterable[str]:
    if isinstance(node, ast.Name):
        yield node.id
    elif isinstance(node, ast.Attribute):
        of_self = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        yield f"self.{node.attr}" if of_self else node.attr


def used(statement: Statement) -> set[str]:
    """Local names and attributes that a statement reads."""
    found: set[str] = set()
    for part in own(statement.node) if statement.node else ():
        for child in ast.walk(part):
            if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Load):
                found.add(child.id)
            elif isinstance(child, ast.Attribute) and isinstance(child.ctx, ast.Load):
                found.add("." + child.attr)
    return found - {"self", "cls"}


def defined(statement: Statement) -> set[str]:
    """Local names and attributes that a statement binds; a method call on a name counts as a change of it."""
    found: set[str] = set()
    for part in own(statement.node) if statement.node else ():
        for child in ast.walk(part):
            if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store | ast.Del):
                found.add(child.id)
            elif isinstance(child, ast.Attribute) and isinstance(child.ctx, ast.Store | ast.Del):
                found.add("." + child.attr)
            elif isinstance(child, ast.Subscript) and isinstance(child.ctx, ast.Store | ast.Del):
                found |= _root(child.value)
            elif isinstance(child, ast.arg):
                found.add(child.arg)
    if isinstance(statement.node, ast.Expr) and isinstance(statement.node.value, ast.Call):
        found |= _root(statement.node.value.func)
    return found - {"self", "cls"}


def _root(node: ast.expr) -> set[str]:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def binds(statement: Statement) -> set[str]:
    """Names that a statement gives a value: targets, attributes, keywords, dictionary keys, parameters."""
    found: set[str] = set()
    for part in own(statement.node) if statement.node else ():
        for child in ast.walk(part):
            match child:
                case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                    found.add(name)
                case ast.keyword(arg=str(name)) | ast.arg(arg=name):
                    found.add(name)
                case ast.Dict(keys=keys):
                    found |= {k.value for k in keys if isinstance(k, ast.Constant) and isinstance(k.value, str)}
    return found
