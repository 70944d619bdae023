"""Reading source text: regions (functions, class bodies, module level) and their statements, by Python's `ast`.

A statement is known by its normalised text: layout, comments, docstrings and annotations are gone, so that a
commit which only reformats changes no statement. Text that is not Python is one region with its lines as statements.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

PYTHON = (".py", ".pyi", ".pyw")
LONGEST_SOURCE = 2_000_000
MODULE = ""
"""The name of the region that holds a module's own statements."""

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
Scope = FunctionNode | ast.ClassDef | ast.Module


@dataclass(frozen=True)
class Statement:
    """A statement, or the header of a compound one: lines `line..end` (from 1); `node` is None outside Python."""

    line: int
    end: int
    node: ast.AST | None = None
    raw: str = ""
    enclosing: tuple[int, ...] = ()
    """Lines at which the compound statements around it begin, outermost first."""

    @cached_property
    def text(self) -> str:
        """The normalised text, made when it is asked for because unparsing is the dear part."""
        return self.raw if self.node is None else _text(self.node)


@dataclass(frozen=True)
class Region:
    """A function, a class body or a module's own level: `name` is dotted within the module."""

    name: str
    line: int
    end: int
    node: Scope | None = None
    lines: tuple[str, ...] = ()

    @cached_property
    def statements(self) -> list[Statement]:
        """Its own statements in order, those of nested functions and classes left to their regions."""
        if self.node is None:
            return [Statement(n, n, None, t.strip()) for n, t in enumerate(self.lines, self.line) if t.strip()]
        return list(_statements(self.node))

    def at(self, line: int) -> Statement | None:
        """The innermost statement on a line."""
        found = [s for s in self.statements if s.line <= line <= s.end]
        return min(found, key=lambda s: (s.end - s.line, -s.line), default=None)


@dataclass(frozen=True)
class Source:
    """One file at one revision; `python` is False where it did not parse."""

    regions: list[Region] = field(default_factory=list)
    python: bool = False

    def at(self, line: int) -> Region | None:
        """The innermost region that holds a line."""
        found = [r for r in self.regions if r.line <= line <= r.end]
        return min(found, key=lambda r: (r.end - r.line, -r.line), default=None)

    @cached_property
    def by_name(self) -> dict[str, Region]:
        """Regions by dotted name; the last of several equal names wins, as in Python."""
        return {region.name: region for region in self.regions}


def read(text: str, path: str) -> Source:
    """The regions of a file's text."""
    if len(text) > LONGEST_SOURCE or "\0" in text:
        return Source()
    lines = tuple(text.splitlines())
    if path.endswith(PYTHON):
        tree = _parsed(text)
        if tree is not None:
            return Source(list(_regions(tree, MODULE, 1, max(1, len(lines)))), python=True)
    return Source([Region(MODULE, 1, max(1, len(lines)), None, lines)])


def _parsed(text: str) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _regions(node: Scope, name: str, line: int, end: int) -> Iterator[Region]:
    yield Region(name, line, end, node)
    for child in _nested(node):
        first = min([child.lineno, *(d.lineno for d in child.decorator_list)])
        inner = f"{name}.{child.name}" if name else child.name
        yield from _regions(child, inner, first, child.end_lineno or child.lineno)


def _nested(node: ast.AST) -> Iterator[FunctionNode | ast.ClassDef]:
    # definitions stand in bodies only, so expressions need no visit
    for block in ("body", "orelse", "finalbody", "handlers", "cases"):
        for child in getattr(node, block, None) or ():
            if isinstance(child, FunctionNode | ast.ClassDef):
                yield child
            else:
                yield from _nested(child)


def _statements(scope: Scope) -> Iterator[Statement]:
    if not isinstance(scope, ast.Module):
        for mark in scope.decorator_list:
            yield Statement(mark.lineno, mark.end_lineno or mark.lineno, mark)
        yield Statement(scope.lineno, max(scope.lineno, scope.body[0].lineno - 1), scope)
    yield from _block(scope.body, ())


def _block(body: list[ast.stmt], enclosing: tuple[int, ...]) -> Iterator[Statement]:
    for node in body:
        if isinstance(node, FunctionNode | ast.ClassDef) or _is_docstring(node):
            continue
        if isinstance(getattr(node, "body", None), list) or isinstance(node, ast.Match):
            yield from _compound(node, enclosing)
        else:
            yield Statement(node.lineno, node.end_lineno or node.lineno, node, "", enclosing)


def _compound(node: ast.stmt, enclosing: tuple[int, ...]) -> Iterator[Statement]:
    inner = (*enclosing, node.lineno)
    first = node.cases[0].pattern.lineno if isinstance(node, ast.Match) else _body(node)[0].lineno
    yield Statement(node.lineno, max(node.lineno, first - 1), node, "", enclosing)
    for attribute in ("body", "orelse", "finalbody"):
        yield from _block(getattr(node, attribute, []), inner)
    for handler in getattr(node, "handlers", []):
        yield Statement(handler.lineno, max(handler.lineno, handler.body[0].lineno - 1), handler, "", inner)
        yield from _block(handler.body, inner)
    for case in getattr(node, "cases", []):
        yield Statement(case.pattern.lineno, case.pattern.end_lineno, case, "", inner)
        yield from _block(case.body, inner)


def _body(node: ast.stmt) -> list[ast.stmt]:
    body: list[ast.stmt] = getattr(node, "body", [])
    return body


def _text(node: ast.AST) -> str:  # noqa: PLR0911 (one return per kind of node)
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            return _signature(node)
        case ast.ClassDef():
            return _class_header(node)
        case ast.ExceptHandler():
            return "except" if node.type is None else f"except {ast.unparse(node.type)}"
        case ast.match_case():
            return f"case {ast.unparse(node.pattern)}"
        case ast.expr():
            return f"@{ast.unparse(node)}"
        case ast.stmt():
            return _header(node)
        case _:
            return ""


def _header(node: ast.stmt) -> str:  # noqa: PLR0911 (one return per kind of node)
    match node:
        case ast.If() | ast.While():
            return f"{type(node).__name__.lower()} {ast.unparse(node.test)}"
        case ast.For() | ast.AsyncFor():
            return f"for {ast.unparse(node.target)} in {ast.unparse(node.iter)}"
        case ast.With() | ast.AsyncWith():
            return "with " + ", ".join(ast.unparse(item) for item in node.items)
        case ast.Match():
            return f"match {ast.unparse(node.subject)}"
        case ast.Try() | ast.TryStar():
            return "try"
        case ast.AnnAssign():
            return ast.unparse(node.target) + (f" = {ast.unparse(node.value)}" if node.value else "")
        case _:
            return ast.unparse(node)


def _signature(node: FunctionNode) -> str:
    arguments = node.args
    names = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
    for name, default in zip(reversed(names), reversed(arguments.defaults), strict=False):
        names[names.index(name)] = f"{name}={ast.unparse(default)}"
    for argument, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        names.append(argument.arg if value is None else f"{argument.arg}={ast.unparse(value)}")
    star = [f"*{arguments.vararg.arg}"] if arguments.vararg else []
    stars = [f"**{arguments.kwarg.arg}"] if arguments.kwarg else []
    prefix = "async def" if isinstance(node, ast.AsyncFunctionDef) else "def"
    return f"{prefix} {node.name}({', '.join([*names, *star, *stars])})"


def _class_header(node: ast.ClassDef) -> str:
    return f"class {node.name}({', '.join(ast.unparse(base) for base in (*node.bases, *node.keywords))})"


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
