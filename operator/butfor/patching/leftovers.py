"""Half a change: what a patch leaves behind of one that it takes out in part.

A commit often moves work from one place to another: the old place stops using a value, the new one begins to. A patch
that takes out the new place alone heals what the new place broke, and the value is then used nowhere: an option that is
accepted and ignored, a result that nobody reads. The captured requests need not show it; the code does.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping

from butfor.patching.functions import nodes
from butfor.patching.sources import is_python

Show = Callable[[str], bytes | None]
Overlay = Mapping[str, bytes | None]


def leftovers(show: Show, patched: Overlay, healed: Overlay) -> set[str]:
    """Names that `patched` leaves unread, as `file:function:name`; `show` gives bad, `healed` all that was put back.

    A parameter counts where bad and the healed tree both read it; another name also where the healed tree does not
    have it, for what is computed and then dropped is of no use.
    """
    found: set[str] = set()
    for path, content in patched.items():
        bad = show(path)
        if is_python(path) and content is not None and bad is not None and content != bad:
            found |= {f"{path}:{one}" for one in _unread(bad, content, healed.get(path, bad) or b"")}
    return found


def _unread(bad: bytes, patched: bytes, healed: bytes) -> set[str]:
    before, whole = dict(nodes(bad)), dict(nodes(healed))
    found: set[str] = set()
    for name, node in nodes(patched):
        if name in before:
            dropped = _names(before[name], ast.Load) - _names(node, ast.Load)
            read, bound = (_names(whole[name], kind) if name in whole else set() for kind in (ast.Load, ast.Store))
            unused = (_parameters(node) & read) | (_names(node, ast.Store) - _escaping(node) - (bound - read))
            found |= {f"{name}:{one}" for one in dropped & unused}
    return found


def _names(node: ast.AST, context: type[ast.expr_context]) -> set[str]:
    return {one.id for one in ast.walk(node) if isinstance(one, ast.Name) and isinstance(one.ctx, context)}


def _escaping(node: ast.AST) -> set[str]:
    """Names that others read too: those declared global or nonlocal."""
    return {name for one in ast.walk(node) if isinstance(one, ast.Global | ast.Nonlocal) for name in one.names}


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    given = node.args
    several = [one for one in (given.vararg, given.kwarg) if one is not None]
    return {one.arg for one in (*given.posonlyargs, *given.args, *given.kwonlyargs, *several)}
