"""Proof that a run executed the tree under test, from the files that its processes loaded. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

MARK = "<worktree>"
_INSTALLED = re.compile(r"/(?:site|dist)-packages/(?P<rest>.+)$")
_NOT_OWN = frozenset(
    {"test", "tests", "testing", "docs", "doc", "examples", "scripts", "tools", "setup.py", "conftest.py"}
)
"""Names at the top of many repositories, which any installed distribution may also have put there."""


def proof(loaded: Sequence[str], worktree: Path, directory: str) -> bool | None:
    """Tell whether `loaded` proves that `worktree` ran: True, False, or None where it cannot be told.

    True needs a module loaded under the worktree (written `<worktree>/...`), and none of the worktree's modules
    loaded from an installed copy. A service that loads no Python module says nothing either way.
    """
    if not loaded:
        return None
    if any(_is_copy(file, worktree, directory) for file in loaded):
        return False
    if any(file.startswith(MARK) and not _INSTALLED.search(file) for file in loaded):
        return True
    return False if next(worktree.rglob("*.py"), None) is not None else None


def together(found: Sequence[bool | None]) -> bool | None:
    """Return what the proofs of several services say of the run: one False decides, one None leaves it open."""
    if False in found:
        return False
    return True if found and all(found) else None


def _is_copy(file: str, worktree: Path, directory: str) -> bool:
    """Tell whether a loaded file is an installed copy of one that the worktree has."""
    match = _INSTALLED.search(file)
    if match is None:
        return False
    rest = PurePosixPath(match["rest"])
    if rest.parts[0] in _NOT_OWN or ".." in rest.parts:
        return False
    roots = [worktree, worktree / "src", worktree / "lib", worktree / directory, worktree / directory / "src"]
    return any((root / rest).is_file() for root in roots)
