"""Applying a unified diff that somebody else wrote (a model): hostile input, so bounded, path-checked and exact.

A hunk goes where its old lines stand: at the line it names, else at the only other place. Nothing is guessed.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from unidiff.errors import UnidiffParseError
from unidiff.patch import PatchSet

from butfor.evidence.runs import Tree
from butfor.patching.edits import split
from butfor.patching.sources import could_run
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
    overlay: dict[str, bytes | None] = {}
    for file in patch:
        reason = _one(repository, revision, file, overlay)
        if reason:
            return None, reason
    return Tree(revision=repository.resolve(revision), overlay=overlay, label="model"), ""


def _one(repository: Repository, revision: str, file: object, overlay: dict[str, bytes | None]) -> str:
    path = str(getattr(file, "path", ""))
    old = repository.show(revision, path) if not unsafe(path) else None
    reason = unsafe(path) or _refused(file, path, old)
    if reason:
        return reason
    content = _apply(split(old or b""), file)
    if content is None:
        return f"{path}: a hunk does not apply"
    overlay[path] = content
    return "" if could_run(path, content) else f"{path}: would not parse"


def _refused(file: object, path: str, old: bytes | None) -> str:
    if getattr(file, "is_binary_file", False) or getattr(file, "is_rename", False):
        return f"{path}: binary changes and renames are not taken"
    if getattr(file, "is_removed_file", False):
        return f"{path}: files are not deleted"
    if getattr(file, "is_added_file", False) != (old is None):
        return f"{path}: " + ("is not in the revision" if old is None else "is there already")
    return ""


def unsafe(path: str) -> str:
    """Why a path may not be written; empty when it may."""
    pure = PurePosixPath(path)
    if not path or "\0" in path or "\\" in path or pure.is_absolute() or ".." in pure.parts:
        return f"{path[:100]!r} is not a path inside the repository"
    if ".git" in {part.lower() for part in pure.parts}:
        return f"{path[:100]!r} is git's own"
    return ""


def _apply(lines: list[bytes], file: object) -> bytes | None:
    out: list[bytes] = []
    position = 0
    for hunk in file:  # type: ignore[attr-defined]
        old = [_bytes(line.value) for line in hunk if line.is_context or line.is_removed]
        new = [_bytes(line.value) for line in hunk if line.is_context or line.is_added]
        start = _place(lines, old, max(0, hunk.source_start - 1), position)
        if start is None:
            return None
        out += lines[position:start] + new
        position = start + len(old)
    return b"".join(out + lines[position:])


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _place(lines: list[bytes], old: list[bytes], wanted: int, after: int) -> int | None:
    if wanted >= after and lines[wanted : wanted + len(old)] == old:
        return wanted
    if not old:
        return None
    places = [i for i in range(after, len(lines) - len(old) + 1) if lines[i : i + len(old)] == old]
    return places[0] if len(places) == 1 else None
