"""Python text as blocks: a file's top-level pieces parsed one by one, each remembered by its text.

A file is cut where a decorator, function or class begins at the margin. A cut that falls into a string or a bracket
leaves a piece that does not parse; then the file is parsed as a whole, so cutting changes the cost and nothing else.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from butfor.locating.statements import Saying, Statement

MOST_TEXT = 3_000_000
"""Characters of text whose blocks are remembered; the least recently asked for go first."""
_CUT = re.compile(r"^(?:@|def |class |async def )", re.MULTILINE)
_ODD = re.compile(r"[\r\f]")

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
Scope = FunctionNode | ast.ClassDef | ast.Module


@dataclass(frozen=True, eq=False)
class Block:
    """A scope's own statements, with lines counted from the beginning of the text it was parsed from."""

    scope: Scope
    line: int
    end: int

    @cached_property
    def statements(self) -> list[Statement]:
        """Its own statements in order."""
        return list(_statements(self.scope))

    @cached_property
    def tokens(self) -> frozenset[str]:
        """What they mention."""
        return frozenset(token for s in self.statements for token in s.tokens)

    @cached_property
    def definitions(self) -> list[tuple[str, Block]]:
        """Functions and classes within, at any depth, by dotted name, outer ones first."""
        return list(_definitions(self.scope, ""))


class Parser:
    """Parses; remembers blocks by their text."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Block] = OrderedDict()
        self._size = 0

    def blocks(self, text: str) -> list[tuple[Block, int]] | None:
        """The blocks of a module with the number of lines before each; None where the text does not parse."""
        pieces = [text] if _ODD.search(text) else list(_pieces(text))
        found: list[tuple[Block, int]] = []
        before = 0
        for piece in pieces:
            block = self._block(piece)
            if block is None:
                whole = self._block(text) if len(pieces) > 1 else None
                return [(whole, 0)] if whole else None
            found.append((block, before))
            before += piece.count("\n")
        return found

    def _block(self, text: str) -> Block | None:
        if text in self._known:
            self._known.move_to_end(text)
            return self._known[text]
        tree = _parsed(text)
        if tree is None:
            return None
        self._known[text] = block = Block(tree, 1, max(1, len(text.splitlines())))
        self._size += len(text)
        while self._size > MOST_TEXT and len(self._known) > 1:
            self._size -= len(self._known.popitem(last=False)[0])
        return block


def _pieces(text: str) -> Iterator[str]:
    start, decorated = 0, False
    for match in _CUT.finditer(text):
        # what a decorator stands on belongs to it
        if match.start() > start and not decorated:
            yield text[start : match.start()]
            start = match.start()
        decorated = match[0] == "@"
    yield text[start:]


def _parsed(text: str) -> ast.Module | None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def _definitions(node: ast.AST, around: str) -> Iterator[tuple[str, Block]]:
    for child in _nested(node):
        first = min([child.lineno, *(d.lineno for d in child.decorator_list)])
        name = f"{around}.{child.name}" if around else child.name
        yield name, Block(child, first, child.end_lineno or child.lineno)
        yield from _definitions(child, name)


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
            yield _made(mark, mark.lineno, mark.end_lineno)
        yield _made(scope, scope.lineno, scope.body[0].lineno - 1)
    yield from _block(scope.body, ())


def _made(node: ast.AST, line: int, end: int | None, enclosing: tuple[int, ...] = ()) -> Statement:
    return Statement(line, max(line, end or line), Saying(node), enclosing)


def _block(body: list[ast.stmt], enclosing: tuple[int, ...]) -> Iterator[Statement]:
    for node in body:
        if isinstance(node, FunctionNode | ast.ClassDef) or _is_docstring(node):
            continue
        if isinstance(getattr(node, "body", None), list) or isinstance(node, ast.Match):
            yield from _compound(node, enclosing)
        else:
            yield _made(node, node.lineno, node.end_lineno, enclosing)


def _compound(node: ast.stmt, enclosing: tuple[int, ...]) -> Iterator[Statement]:
    inner = (*enclosing, node.lineno)
    first = node.cases[0].pattern.lineno if isinstance(node, ast.Match) else _body(node)[0].lineno
    yield _made(node, node.lineno, first - 1, enclosing)
    for attribute in ("body", "orelse", "finalbody"):
        yield from _block(getattr(node, attribute, []), inner)
    for handler in getattr(node, "handlers", []):
        yield _made(handler, handler.lineno, handler.body[0].lineno - 1, inner)
        yield from _block(handler.body, inner)
    for case in getattr(node, "cases", []):
        yield _made(case, case.pattern.lineno, case.pattern.end_lineno, inner)
        yield from _block(case.body, inner)


def _body(node: ast.stmt) -> list[ast.stmt]:
    body: list[ast.stmt] = getattr(node, "body", [])
    return body


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
