"""Unified diffs as files of coloured lines, with the hunks that touch named functions marked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from butfor.evidence.suspects import FunctionRef

MAX_LINES = 400
MAX_FILES = 60
_HEAD = re.compile(r"^diff --git a/(?P<old>.*) b/(?P<new>.*)$")
_META = ("index ", "--- ", "+++ ", "old mode", "new mode", "similarity ")


@dataclass
class FileDiff:
    """One file; `lines` are (kind, text), kind is one of add, cut, hunk, named, same. `open`: worth reading first."""

    name: str
    lines: list[tuple[str, str]] = field(default_factory=list)
    added: int = 0
    removed: int = 0
    left_out: int = 0
    open: bool = False


def files_of(diff: str, functions: Sequence[FunctionRef]) -> list[FileDiff]:
    """Return the files of a diff, those with a named function first; without any functions, all are open."""
    found: list[FileDiff] = []
    for line in diff.splitlines():
        if head := _HEAD.match(line):
            found.append(FileDiff(head["new"]))
        elif found:
            _add(found[-1], line)
    for file in found:
        file.open = not functions or any(_same_file(one.file, file.name) for one in functions)
        if file.open and functions:
            _mark(file, functions)
    return sorted(found, key=lambda one: not one.open)[:MAX_FILES]


def _add(file: FileDiff, line: str) -> None:
    if not any(kind == "hunk" for kind, _ in file.lines) and line.startswith(_META):
        return
    kind = {"+": "add", "-": "cut", "@": "hunk"}.get(line[:1], "same")
    file.added += kind == "add"
    file.removed += kind == "cut"
    if len(file.lines) < MAX_LINES:
        file.lines.append((kind, line))
    else:
        file.left_out += 1


def _same_file(reference: str, name: str) -> bool:
    return reference == name or name.endswith("/" + reference)


def _mark(file: FileDiff, functions: Sequence[FunctionRef]) -> None:
    here = [one.name.split(".")[-2:] for one in functions if _same_file(one.file, file.name)]
    names = "|".join(sorted({re.escape(part) for parts in here for part in parts}))
    pattern = re.compile(rf"\b(?:def|class) (?:{names})\b")
    file.lines = [("named" if pattern.search(text) else kind, text) for kind, text in file.lines]
