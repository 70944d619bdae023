"""Names that a carried change imports from other files of the repository, where later (or earlier) commits lack them.

Code that is put back as it was may import a helper which was removed since. Such a helper is put back with what it
uses in turn, in the file that had it; whole files likewise. What is lent must make no difference by itself: whoever
counts a tree with something lent runs the same loan without the change (`give` on the base).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import PurePosixPath

from butfor.patching import functions
from butfor.patching.sources import is_python, parsed
from butfor.patching.transfers import Change, View

MOST = 12
"""A change that needs more files mended than this is not worth it."""
Loan = dict[str, frozenset[str]]
"""Per file the names that it lacks; none of them where the whole file is lacking."""


def loan(change: Change, view: View) -> Loan:
    """What the files of a view import from others and do not find there, as far as `change.target` has it."""
    found: Loan = {}
    open_ = [path for path, content in view.tree.overlay.items() if content is not None and is_python(path)]
    while open_ and len(found) <= MOST:
        path = open_.pop()
        before = view.repository.show(view.tree.revision, path)
        for level, module, name in sorted(_imported(view.read(path)) - _imported(before)):
            file = _file(level, module, path, view, change)
            if file is None or name in found.get(file, frozenset()) or not _lacks(view, file, name):
                continue
            lent = {file: found.get(file, frozenset()) | ({name} if view.read(file) is not None else frozenset())}
            given = give(change, view, lent)
            if given.tree.overlay != view.tree.overlay:
                found, view = found | lent, given
                open_.append(file)
    return found if len(found) <= MOST else {}


def give(change: Change, view: View, wanted: Loan) -> View:
    """The view with what is lent; a file whose donor lacks it stays as it is."""
    for path, names in wanted.items():
        donor, content = change.new(path), view.read(path)
        if donor is None:
            continue
        mended = donor if content is None else functions.with_bound(content, set(names), donor)
        if parsed(mended) is not None:
            view = view.with_files({path: mended})
    return view


def _imported(content: bytes | None) -> set[tuple[int, str, str]]:
    """Level, module and name of each `from ... import`."""
    module = parsed(content or b"")
    nodes = [n for n in ast.walk(module) if isinstance(n, ast.ImportFrom)] if module else []
    return {(node.level, node.module or "", alias.name) for node in nodes for alias in node.names if alias.name != "*"}


def _file(level: int, module: str, path: str, view: View, change: Change) -> str | None:
    """The repository's file of a module that `path` imports, there or at the donor; None for any other module."""
    files = list(_files(level, module, path))
    found = next((one for one in files if view.read(one) is not None), None)
    return found or next((one for one in files if change.new(one) is not None), None)


def _files(level: int, module: str, path: str) -> Iterator[str]:
    """Where a module may stand, nearest first."""
    parts = module.split(".") if module else []
    parents = list(PurePosixPath(path).parents)
    for folder in parents[level - 1 : level] if level else parents:
        base = folder.joinpath(*parts)
        yield from (str(base / "__init__.py"), *([f"{base}.py"] if parts else []))


def _lacks(view: View, file: str, name: str) -> bool:
    content = view.read(file)
    if content is None:
        return True
    if PurePosixPath(file).name == "__init__.py":
        beside = PurePosixPath(file).parent / name
        if view.read(f"{beside}.py") is not None or view.read(f"{beside}/__init__.py") is not None:
            return False
    return functions.lacks(content, name)
