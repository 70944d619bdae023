"""Syntax trees as normalised text: layout, comments, docstrings and annotations are gone."""

from __future__ import annotations

import ast

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


def text_of(node: ast.AST) -> str:  # noqa: PLR0911 (one return per kind of node)
    """The normalised text of a statement, or of the header of a compound one; empty for other nodes."""
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
