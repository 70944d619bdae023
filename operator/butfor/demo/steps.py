"""Reading the text form of a history: commits, one after another, as a person would tell them.

commit 2025-03-03T09:12:00+0100 mara     date and author
    Subject                              the message, indented
add README.md                            a file whose content lies in the folder of files
create docs/x.md                         a new file; its lines follow, each with a +
change app.py                            hunks follow: like a diff's, but without numbers
@@
 context
-old
+new
rename old.py new.py
branch NAME                              the commit stands on a branch, begun where it is first named
merge NAME                               the commit brings that branch in
plant INCIDENT                           what follows is done in that incident's history only
tag v1.0
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

_COMMIT = re.compile(r"^commit (\S+) (\w+)$")
_WORD = re.compile(r"^(add|create|change|rename|branch|merge|plant|tag) (.+)$")


@dataclass(frozen=True)
class Hunk:
    """Lines that are found once in a file, and what stands there afterwards."""

    old: str
    new: str


@dataclass
class Change:
    """What happens to one file. `add` and `create` make it, `rename` moves it to `target`."""

    kind: Literal["add", "create", "change", "rename"]
    path: str
    target: str = ""
    lines: list[str] = field(default_factory=list)

    def hunks(self) -> list[Hunk]:
        """The hunks of a `change`, in order."""
        groups: list[list[str]] = []
        for line in self.lines:
            if line == "@@":
                groups.append([])
            elif groups:
                groups[-1].append(line)
        return [_hunk(group) for group in groups]

    def text(self) -> str:
        """The content that a `create` gives."""
        return "".join(line[1:] + "\n" for line in self.lines if line.startswith("+"))


@dataclass
class Step:
    """One commit to be. `plants` are further changes, by the incident whose history they belong to."""

    date: str
    author: str
    message: str = ""
    changes: list[Change] = field(default_factory=list)
    plants: dict[str, list[Change]] = field(default_factory=dict)
    branch: str = ""
    merge: str = ""
    tag: str = ""


def read_steps(text: str) -> list[Step]:
    """The steps of a history. Raises ValueError with the line that cannot be read."""
    steps: list[Step] = []
    for number, line in enumerate(text.splitlines(), 1):
        if match := _COMMIT.match(line):
            steps.append(Step(date=match[1], author=match[2]))
        elif not steps:
            raise ValueError(f"line {number}: a history begins with `commit DATE AUTHOR`")
        elif not _take(steps[-1], line):
            raise ValueError(f"line {number}: {line!r} is neither an instruction nor part of one")
    for step in steps:
        _finish(step)
    return steps


def _take(step: Step, line: str) -> bool:
    """Add a line to the step that is being read; False where it does not fit."""
    if match := _WORD.match(line):
        return _instructed(step, match[1], match[2].split())
    changes = _open(step)
    if not changes:
        step.message += line.removeprefix("    ") + "\n"
        return not line or line.startswith("    ")
    changes[-1].lines.append(line)
    return not line or line == "@@" or line[0] in " +-"


def _open(step: Step) -> list[Change]:
    """Where changes are added to now: the last plant's, else the step's own."""
    return list(step.plants.values())[-1] if step.plants else step.changes


def _instructed(step: Step, word: str, arguments: list[str]) -> bool:
    if word in ("branch", "merge", "tag"):
        setattr(step, word, arguments[0])
    elif word == "plant":
        step.plants[arguments[0]] = []
    elif word == "rename":
        _open(step).append(Change("rename", arguments[0], arguments[1]))
    else:
        _open(step).append(Change(word, arguments[0]))  # type: ignore[arg-type]
    return True


def _finish(step: Step) -> None:
    """Blank lines between instructions belong to neither."""
    step.message = step.message.strip() + "\n"
    for change in [*step.changes, *(one for plant in step.plants.values() for one in plant)]:
        while change.lines and not change.lines[-1]:
            change.lines.pop()


def _hunk(lines: Iterable[str]) -> Hunk:
    every = [line or " " for line in lines]
    old = "".join(line[1:] + "\n" for line in every if line[0] in " -")
    new = "".join(line[1:] + "\n" for line in every if line[0] in " +")
    return Hunk(old, new)
