"""Proof that a run executed the tree under test, from the files that its processes loaded. Standard library only."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

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
    roots = _roots(worktree, directory)
    if any(_is_copy(file, roots) for file in loaded):
        return False
    if any(file.startswith(MARK) and not _INSTALLED.search(file) for file in loaded):
        return True
    return False if next(worktree.rglob("*.py"), None) is not None else None


def together(found: Sequence[bool | None]) -> bool | None:
    """Return what the proofs of several services say of the run: one False decides, one None leaves it open."""
    if False in found:
        return False
    return True if found and all(found) else None


def _roots(worktree: Path, directory: str) -> dict[Path, frozenset[str]]:
    """Return the folders of a worktree that packages are imported from, with the names in each."""
    wanted = [worktree, worktree / "src", worktree / "lib", worktree / directory, worktree / directory / "src"]
    return {root: frozenset(one.name for one in root.iterdir()) for root in wanted if root.is_dir()}


def _is_copy(file: str, roots: Mapping[Path, frozenset[str]]) -> bool:
    """Tell whether a loaded file is an installed copy of one that the worktree has."""
    match = _INSTALLED.search(file)
    if match is None:
        return False
    parts = [part for part in match["rest"].split("/") if part not in ("", ".")]
    if not parts or parts[0] in _NOT_OWN or ".." in parts:
        return False
    # a service loads hundreds of installed files: only those with a name of ours are looked for
    return any(parts[0] in names and root.joinpath(*parts).is_file() for root, names in roots.items())
