"""The functions that a patch of bad changes: one of the places where the failure can be taken out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

from unidiff.errors import UnidiffParseError
from unidiff.patch import PatchedFile, PatchSet

from butfor.evidence.suspects import FunctionRef
from butfor.locating.blocks import Parser
from butfor.locating.sources import MODULE, PYTHON
from butfor.locating.trees import Tree
from butfor.ports.repositories import Repository

MOST, LONGEST = 20, 500
_HEADING = re.compile(r"^[A-Za-z_$].*?([A-Za-z_$][\w$]*)\s*\(")
"""As `git diff` names hunks of languages that it does not know: the last line that begins with a letter."""


def patched(repository: Repository, bad: str, diff: bytes) -> list[FunctionRef]:
    """Functions of bad with lines that the patch changes, those with most first; empty where it names none."""
    try:
        files = list(PatchSet(diff.decode("utf-8", "replace")))
    except (UnidiffParseError, ValueError, IndexError, TypeError):
        return []
    tree = Tree(repository, bad, [str(file.path) for file in files], ".", Parser())
    found = Counter(reference for file in files for reference in _changed(tree, repository, bad, file))
    return [reference for reference, _ in found.most_common(MOST)]


def _changed(tree: Tree, repository: Repository, bad: str, file: PatchedFile) -> Iterator[FunctionRef]:
    path = str(file.path)
    raw = repository.show(bad, path) if path in tree.files else None
    lines = raw.decode("utf-8", "replace").splitlines() if raw is not None else []
    for number in _lines(file):
        reference = _python(tree, path, number) if path.endswith(PYTHON) else _other(path, lines, number)
        if reference is not None:
            yield reference


def _lines(file: PatchedFile) -> Iterator[int]:
    """Lines of bad that are taken out, or behind which something is put in."""
    for hunk in file:
        at = hunk.source_start
        for line in hunk:
            if line.is_added:
                yield max(at - 1, 1)
            else:
                if line.is_removed:
                    yield at
                at += 1


def _python(tree: Tree, path: str, line: int) -> FunctionRef | None:
    found = tree.locate(path, line)
    return tree.reference(found[0]) if found is not None and found[1].name != MODULE else None


def _other(path: str, lines: list[str], line: int) -> FunctionRef | None:
    for at in range(min(line, len(lines)), 0, -1):
        if found := _HEADING.match(lines[at - 1][:LONGEST]):
            return FunctionRef(name=found[1], file=path, line=at)
    return None
