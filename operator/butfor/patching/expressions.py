"""A statement that is put back cut to its expressions: those that differ, each put back alone; pure, Python only.

What a statement became may serve more than one purpose; the one that matters may be a single argument or operand of it.
"""

from __future__ import annotations

import ast
from dataclasses import replace

from butfor.patching import edits
from butfor.patching.edits import Edit, Lines
from butfor.patching.sources import parsed

Pair = tuple[ast.expr, ast.expr]
MOST = 8


def narrower(old: bytes, edit: Edit) -> list[Edit]:
    """The edit's statement with one differing expression put back in each, the shortest first.

    None for less than two of them: one alone is the statement.
    """
    before = edits.split(old)[edit.start : edit.end]
    one, other = _statement(before), _statement(list(edit.new))
    if one is None or other is None or type(one) is not type(other):
        return []
    pairs = _differing(one, other)
    if pairs is None or not 2 <= len(pairs) <= MOST:
        return []
    pairs.sort(key=lambda pair: len(_segment(list(edit.new), pair[1])))
    return [replace(edit, new=tuple(_placed(before, list(edit.new), pair))) for pair in pairs]


def _statement(lines: Lines) -> ast.stmt | None:
    """The only statement in some lines, or the header of one; its columns are the lines', its first line is 2."""
    text = [line for line in lines if line.strip()]
    if not text:
        return None
    indented = edits.indent(text[0]) > 0
    blank = b" " * (edits.indent(text[0]) + 1)
    for more in (b"", b"\n" + blank + b"pass\n"):
        module = parsed(b"".join([b"if 1:\n" if indented else b"\n", *lines, more]))
        body = module.body if module is not None else []
        if indented and body and isinstance(body[0], ast.If):
            body = body[0].body
        if len(body) == 1:
            return body[0]
    return None


def _differing(one: ast.AST, other: ast.AST) -> list[Pair] | None:
    """The smallest expressions that differ; None where something else than expressions does."""
    if ast.dump(one) == ast.dump(other):
        return []
    inner = _within(one, other) if type(one) is type(other) and not isinstance(one, ast.JoinedStr) else None
    if inner is not None:
        return inner
    return [(one, other)] if isinstance(one, ast.expr) and isinstance(other, ast.expr) else None


def _within(one: ast.AST, other: ast.AST) -> list[Pair] | None:
    found: list[Pair] = []
    for name in one._fields:
        a, b = getattr(one, name, None), getattr(other, name, None)
        mine, its = (a, b) if isinstance(a, list) and isinstance(b, list) else ([a], [b])
        if len(mine) != len(its):
            return None
        for x, y in zip(mine, its, strict=True):
            if isinstance(x, ast.AST) and isinstance(y, ast.AST):
                pairs = _differing(x, y)
                if pairs is None:
                    return None
                found += pairs
            elif x != y:
                return None
    return found


def _segment(lines: Lines, node: ast.expr) -> bytes:
    first, last = node.lineno - 2, (node.end_lineno or node.lineno) - 2
    text = b"".join(lines[first : last + 1])
    tail = len(lines[last]) - (node.end_col_offset or 0)
    return text[node.col_offset : len(text) - tail]


def _placed(before: Lines, new: Lines, pair: Pair) -> Lines:
    old, wanted = pair
    first, last = old.lineno - 2, (old.end_lineno or old.lineno) - 2
    head, tail = before[first][: old.col_offset], before[last][old.end_col_offset :]
    return edits.split(b"".join([*before[:first], head, _segment(new, wanted), tail, *before[last + 1 :]]))
