"""Parsing git's own unified diffs and blame output into values; pure functions, no I/O.

Hunks are read by the counts in their headers, so that no content of a file can be taken for a header.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

HUNK = re.compile(r"^@@ -(\d+)(?:,(\d+))? \+(\d+)(?:,(\d+))? @@(.*)$")
Line = TypeVar("Line")


@dataclass(frozen=True)
class Hunk:
    """A change without context. Lines count from 1; a pure insertion has `old_len` 0 and stands after `old_start`."""

    old_start: int
    old_len: int
    new_start: int
    new_len: int
    removed: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    section: str = ""


@dataclass(frozen=True)
class FileChange:
    """One file of a change; `path` is None for a deletion, `old_path` for an addition, both differ for a rename."""

    path: str | None
    old_path: str | None
    hunks: list[Hunk] = field(default_factory=list)
    binary: bool = False

    @property
    def name(self) -> str:
        """The path by which the file is best known: the new one, else the old one."""
        return self.path or self.old_path or ""


def parse(text: str) -> list[FileChange]:
    """File changes of a git diff made with `-U0`."""
    lines = text.split("\n")
    changes: list[FileChange] = []
    index = 0
    while index < len(lines):
        if lines[index].startswith("diff --"):
            change, index = _file(lines, index)
            changes.append(change)
        else:
            index += 1
    return changes


def _file(lines: list[str], index: int) -> tuple[FileChange, int]:
    old, new = _header_paths(lines[index])
    binary, index = False, index + 1
    hunks: list[Hunk] = []
    while index < len(lines) and not lines[index].startswith("diff --"):
        line = lines[index]
        match = HUNK.match(line)
        if match:
            hunk, index = _hunk(lines, index, match)
            hunks.append(hunk)
            continue
        old, new = _named(line, old, new)
        binary = binary or line.startswith(("Binary files ", "GIT binary patch"))
        index += 1
    return FileChange(path=new, old_path=old, hunks=hunks, binary=binary), index


def _header_paths(line: str) -> tuple[str | None, str | None]:
    # only needed for changes without ---/+++ lines (modes, binaries), where both sides have the same name
    rest = line.removeprefix("diff --git ")
    half = (len(rest) - 1) // 2
    old, new = rest[:half], rest[half + 1 :]
    if old.startswith("a/") and new.startswith("b/"):
        return _unquote(old[2:]), _unquote(new[2:])
    return None, None


def _named(line: str, old: str | None, new: str | None) -> tuple[str | None, str | None]:
    if line.startswith("--- "):
        old = _side(line[4:])
    elif line.startswith("+++ "):
        new = _side(line[4:])
    elif line.startswith("rename from "):
        old = _unquote(line[12:])
    elif line.startswith("rename to "):
        new = _unquote(line[10:])
    elif line.startswith("new file mode"):
        old = None
    elif line.startswith("deleted file mode"):
        new = None
    return old, new


def _side(text: str) -> str | None:
    path = _unquote(text.rstrip("\t"))
    return None if path == "/dev/null" else path[2:]


def _unquote(path: str) -> str:
    if not path.startswith('"'):
        return path
    raw = path.strip('"').encode("utf-8", "surrogateescape").decode("unicode_escape")
    return raw.encode("latin-1", "replace").decode("utf-8", "surrogateescape")


def _hunk(lines: list[str], index: int, match: re.Match[str]) -> tuple[Hunk, int]:
    old_start, old_len = int(match[1]), int(match[2] or 1)
    new_start, new_len = int(match[3]), int(match[4] or 1)
    removed: list[str] = []
    added: list[str] = []
    index += 1
    while index < len(lines) and (len(removed) < old_len or len(added) < new_len or lines[index].startswith("\\")):
        side, content = lines[index][:1], lines[index][1:]
        if side == "-":
            removed.append(content)
        elif side == "+":
            added.append(content)
        elif side != "\\":
            break
        index += 1
    return Hunk(old_start, old_len, new_start, new_len, removed, added, match[5].strip()), index


def parse_blame(text: str, make: Callable[[str, str, int, int, str], Line]) -> Iterator[Line]:
    """Lines of `git blame --porcelain`, through `make(sha, path, line, original_line, text)`."""
    paths: dict[str, str] = {}
    sha, original, final = "", 0, 0
    for row in text.split("\n"):
        if row.startswith("\t"):
            yield make(sha, paths.get(sha, ""), final, original, row[1:])
        elif re.match(r"^[0-9a-f]{40,64} \d+ \d+", row):
            sha, first, second = row.split()[:3]
            original, final = int(first), int(second)
        elif row.startswith("filename "):
            paths[sha] = _unquote(row[9:])
