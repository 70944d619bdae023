"""What a piece of syntax is made of: its own parts, what it calls, reads, binds and names."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator


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


def walk(node: ast.AST) -> Iterator[ast.AST]:
    """A node and all below it, in the order in which they stand; contexts (load, store) are left out."""
    stack = [node]
    while stack:
        child = stack.pop()
        yield child
        below: list[ast.AST] = []
        for name in child._fields:
            value = getattr(child, name, None) if name != "ctx" else None
            if isinstance(value, list):
                below += [one for one in value if isinstance(one, ast.AST)]
            elif isinstance(value, ast.AST):
                below.append(value)
        stack += reversed(below)


def parts_of(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes of a statement's own parts."""
    for part in own(node):
        yield from walk(part)


def called(node: ast.AST) -> Iterable[str]:
    """The last names of what a statement calls; `self.` is kept as a mark of a method of the same class."""
    for child in parts_of(node):
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


def used(node: ast.AST) -> set[str]:
    """Local names and attributes that a statement reads."""
    found: set[str] = set()
    for child in parts_of(node):
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Load):
            found.add(child.id)
        elif isinstance(child, ast.Attribute) and isinstance(child.ctx, ast.Load):
            found.add("." + child.attr)
    return found - {"self", "cls"}


def defined(node: ast.AST) -> set[str]:
    """Local names and attributes that a statement binds; a method call on a name counts as a change of it."""
    found: set[str] = set()
    for child in parts_of(node):
        if isinstance(child, ast.Name) and isinstance(child.ctx, ast.Store | ast.Del):
            found.add(child.id)
        elif isinstance(child, ast.Attribute) and isinstance(child.ctx, ast.Store | ast.Del):
            found.add("." + child.attr)
        elif isinstance(child, ast.Subscript) and isinstance(child.ctx, ast.Store | ast.Del):
            found |= _root(child.value)
        elif isinstance(child, ast.arg):
            found.add(child.arg)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        found |= _root(node.value.func)
    return found - {"self", "cls"}


def _root(node: ast.expr) -> set[str]:
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return {node.id} if isinstance(node, ast.Name) else set()


def binds(node: ast.AST) -> set[str]:
    """Names that a statement gives a value: targets, attributes, keywords, dictionary keys, parameters."""
    found: set[str] = set()
    for child in parts_of(node):
        match child:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                found.add(name)
            case ast.keyword(arg=str(name)) | ast.arg(arg=name):
                found.add(name)
            case ast.Dict(keys=keys):
                found |= {k.value for k in keys if isinstance(k, ast.Constant) and isinstance(k.value, str)}
    return found


def shows(node: ast.AST) -> set[str]:
    """Names that a statement gives a value to and that are not local to its function."""
    found: set[str] = set()
    for child in parts_of(node):
        match child:
            case ast.Attribute(attr=name, ctx=ast.Store()) | ast.keyword(arg=str(name)):
                found.add(name)
            case ast.Dict(keys=keys):
                found |= {k.value for k in keys if isinstance(k, ast.Constant) and isinstance(k.value, str)}
    return found


def effects(node: ast.AST) -> set[str]:
    """What a statement does, as text: calls, subscripts, attribute accesses, arithmetic, comparisons, loops, raises.

    Only these can raise, block or take long; names, constants and targets around them cannot.
    """
    found = {ast.unparse(child) for child in parts_of(node) if isinstance(child, _DOING) and not _stores(child)}
    if isinstance(node, ast.Raise) and node.exc is not None:
        found.add(ast.unparse(node.exc))
    if isinstance(node, ast.Assert | ast.Delete):
        found.add(ast.unparse(node))
    if isinstance(node, ast.For | ast.AsyncFor | ast.While):
        found.add("for " + ast.unparse(own(node)[-1]))
    return found


def _stores(node: ast.AST) -> bool:
    return isinstance(getattr(node, "ctx", None), ast.Store)


_DOING = (
    ast.Call, ast.Subscript, ast.Attribute, ast.BinOp, ast.Compare, ast.GeneratorExp, ast.ListComp, ast.SetComp,
    ast.DictComp, ast.Yield, ast.YieldFrom,
)  # fmt: skip
