"""Taking a unified diff that somebody else wrote (a model): hostile input, so bounded and path-checked here.

It is then applied by git, by the same code that applies our own patches.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from unidiff.errors import UnidiffParseError
from unidiff.patch import PatchedFile, PatchSet

from butfor.errors import UserError
from butfor.evidence.runs import Tree
from butfor.patching.sources import could_run
from butfor.ports.patches import apply_patch
from butfor.ports.repositories import Repository

MAXIMUM_BYTES = 256 * 1024
MAXIMUM_FILES = 20


def from_diff(repository: Repository, revision: str, diff: str) -> tuple[Tree | None, str]:
    """The tree of `revision` with the diff applied, or None and the reason why not."""
    if len(diff.encode("utf-8", "surrogateescape")) > MAXIMUM_BYTES:
        return None, f"the diff is larger than {MAXIMUM_BYTES} bytes"
    try:
        patch = PatchSet(diff)
    except (UnidiffParseError, ValueError, IndexError, TypeError) as error:
        return None, f"not a unified diff: {str(error)[:200]}"
    if not 0 < len(patch) <= MAXIMUM_FILES:
        return None, f"the diff changes {len(patch)} files; 1 to {MAXIMUM_FILES} are allowed"
    reasons = [_refused(file, repository, revision) for file in patch]
    reason = next((reason for reason in reasons if reason), "")
    return (None, reason) if reason else _applied(repository, revision, patch)


def _applied(repository: Repository, revision: str, patch: PatchSet) -> tuple[Tree | None, str]:
    text = "".join(_written(file) for file in patch)
    base = Tree(revision=repository.resolve(revision), label="model")
    try:
        tree = apply_patch(repository, base, text.encode("utf-8", "surrogateescape"), context=False)
    except UserError as error:
        return None, f"a hunk does not apply: {str(error)[:300]}"
    broken = [path for path, content in tree.overlay.items() if not could_run(path, content)]
    return (None, f"{broken[0]}: would not parse") if broken else (tree, "")


def _written(file: PatchedFile) -> str:
    """One file with headers of ours: others may lack git's prefixes, or hold more than a change of lines."""
    old = "/dev/null" if file.is_added_file else f"a/{file.path}"
    return f"--- {old}\t\n+++ b/{file.path}\t\n" + "".join(str(hunk) for hunk in file)


def _refused(file: PatchedFile, repository: Repository, revision: str) -> str:
    path = str(file.path)
    reason = unsafe(path)
    if reason:
        return reason
    if file.is_binary_file or file.is_rename:
        return f"{path}: binary changes and renames are not taken"
    if file.is_removed_file:
        return f"{path}: files are not deleted"
    there = repository.show(revision, path) is not None
    if file.is_added_file == there:
        return f"{path}: " + ("is there already" if there else "is not in the revision")
    return ""


def unsafe(path: str) -> str:
    """Why a path may not be written; empty when it may."""
    pure = PurePosixPath(path)
    if not path or any(mark in path for mark in "\0\\\n\t") or pure.is_absolute() or ".." in pure.parts:
        return f"{path[:100]!r} is not a path inside the repository"
    if ".git" in {part.lower() for part in pure.parts}:
        return f"{path[:100]!r} is git's own"
    return ""
