"""Carrying a change from where it was made to another tree: a culprit out of bad, or into good.

A `Change` leads from one revision to another (a culprit's removal leads from it to its parent). It is cut into
units, one per function (or per file's module level), that can be carried together or apart, in two styles:
`hunks` moves line edits to where their lines stand now; `functions` puts whole functions back as they were.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from butfor.evidence.runs import Tree
from butfor.patching import edits, functions
from butfor.patching.edits import Edit
from butfor.patching.sources import is_python, is_source
from butfor.ports.repositories import Repository

Style = Literal["hunks", "mixed", "functions"]
Overlay = dict[str, bytes | None]


@dataclass(frozen=True)
class Unit:
    """One function's share of a change, in `path` of the revision it leads from; `function` is empty for module level.

    `kind` tells files that only one side has; their `edits` are empty.
    """

    path: str
    function: str
    kind: Literal["edit", "add", "delete"] = "edit"
    edits: tuple[Edit, ...] = ()

    @property
    def name(self) -> str:
        """For people: file and function."""
        return f"{self.path}:{self.function}" if self.function else self.path


@dataclass(frozen=True)
class Change:
    """What leads from revision `source` to revision `target` in source files; `label` names it for people."""

    repository: Repository
    source: str
    target: str
    label: str = ""

    @cached_property
    def units(self) -> list[Unit]:
        """The change cut by function, in the order of git's diff; renames count as edits of the old path."""
        found: list[Unit] = []
        for change in self.repository.changed_files(self.source, self.target):
            if change.binary or not is_source(change.name):
                continue
            if change.old_path is None or change.path is None:
                kind: Literal["add", "delete"] = "add" if change.old_path is None else "delete"
                found.append(Unit(change.name, "", kind))
            else:
                found += self._edited(change.old_path, change.path)
        return found

    def _edited(self, old_path: str, new_path: str) -> list[Unit]:
        old, new = self.old(old_path), self.repository.show(self.target, new_path)
        if old is None or new is None:
            return []
        before = functions.definitions(old) if is_python(old_path) else {}
        after = functions.definitions(new) if is_python(old_path) else {}
        grouped: dict[str, list[Edit]] = {}
        drift = 0
        for edit in edits.between(old_path, old, new):
            name = functions.enclosing(before, edit.start, edit.end) if edit.end > edit.start else ""
            start = edit.start + drift
            name = name or functions.enclosing(after, start, start + len(edit.new))
            grouped.setdefault(name, []).append(edit)
            drift += len(edit.new) - (edit.end - edit.start)
        return [Unit(old_path, name, "edit", tuple(group)) for name, group in grouped.items()]

    def old(self, path: str) -> bytes | None:
        """A file where the change starts."""
        return self.repository.show(self.source, path)

    def new(self, path: str) -> bytes | None:
        """A file where the change leads, by its path where the change starts."""
        renamed = self.renames.get(path, path)
        return self.repository.show(self.target, renamed)

    @cached_property
    def renames(self) -> dict[str, str]:
        """Old to new path of the files that the change itself moves."""
        return self.repository.renames(self.source, self.target)


class View:
    """A tree's contents, with what was moved since a revision found where it is now."""

    def __init__(self, repository: Repository, tree: Tree) -> None:
        self.repository = repository
        self.tree = tree
        self._moves: dict[str, dict[str, str]] = {}

    def read(self, path: str) -> bytes | None:
        """A file of the tree, None where it has none."""
        overlay = self.tree.overlay
        return overlay[path] if path in overlay else self.repository.show(self.tree.revision, path)

    def now(self, path: str, since: str) -> str | None:
        """Where the tree has what was `path` at revision `since`."""
        if self.read(path) is not None:
            return path
        if since not in self._moves:
            self._moves[since] = self.repository.renames(since, self.tree.revision)
        moved = self._moves[since].get(path)
        return moved if moved is not None and self.read(moved) is not None else None

    def with_files(self, overlay: Overlay, label: str = "") -> View:
        """The same with more files replaced; what equals the revision is left out of the overlay."""
        merged = self.tree.overlay | overlay
        revision = self.tree.revision
        kept = {path: new for path, new in merged.items() if new != self.repository.show(revision, path)}
        return View(self.repository, Tree(revision=revision, overlay=kept, label=label or self.tree.label))


@dataclass
class Carried:
    """A view after carrying, the units that were moved, and those that found no place (`edits` are theirs).

    `restored`: moved units whose functions were put back as they were, so that what others changed in them went too.
    """

    view: View
    conflicts: list[Unit] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    moved: list[Unit] = field(default_factory=list)
    restored: list[Unit] = field(default_factory=list)


def carry(change: Change, view: View, style: Style, units: Sequence[Unit] | None = None) -> Carried:
    """Carry the units of a change (all by default) into a view."""
    result = Carried(view)
    for path, group in _by_path(change.units if units is None else units).items():
        _carry_file(change, result, path, group, style)
    return result


def _by_path(units: Sequence[Unit]) -> dict[str, list[Unit]]:
    grouped: dict[str, list[Unit]] = {}
    for unit in units:
        grouped.setdefault(unit.path, []).append(unit)
    return grouped


def _carry_file(change: Change, result: Carried, path: str, units: list[Unit], style: Style) -> None:
    if units[0].kind != "edit":
        _carry_whole(change, result, units[0])
        return
    where = result.view.now(path, change.source)
    base = change.old(path)
    if where is None or base is None:
        _conflict(result, units)
        return
    content = result.view.read(where) or b""
    whole = [u for u in units if style == "functions" and u.function]
    rest = [u for u in units if u not in whole]
    placed, failed = _place_units(base, content, rest)
    content = edits.apply(content, placed)
    if style == "mixed":
        whole += [unit for unit in failed if unit.function]
        failed = [unit for unit in failed if not unit.function]
    content, lost = _restore(change, content, path, whole)
    _conflict(result, failed + lost)
    result.moved += [unit for unit in units if unit not in failed and unit not in lost]
    result.restored += [unit for unit in whole if unit not in lost]
    result.view = result.view.with_files({where: content})


def _place_units(base: bytes, content: bytes, units: list[Unit]) -> tuple[list[Edit], list[Unit]]:
    """Edits placed in `content`, and the units of which any edit has no place (none of theirs is placed)."""
    flat = [edit for unit in units for edit in unit.edits]
    conflicts = set(edits.transplant(base, content, flat).conflicts)
    sound = [unit for unit in units if not conflicts.intersection(unit.edits)]
    failed = [unit for unit in units if conflicts.intersection(unit.edits)]
    return edits.transplant(base, content, [edit for unit in sound for edit in unit.edits]).edits, failed


def _restore(change: Change, content: bytes, path: str, units: list[Unit]) -> tuple[bytes, list[Unit]]:
    if not units:
        return content, []
    source = change.new(path)
    wanted = functions.definitions(source) if source is not None else {}
    lost: list[Unit] = []
    for unit in units:
        if unit.function not in wanted or source is None:
            continue  # the change removes this function: left where it is, nobody calls it
        restored = functions.put_back(content, wanted[unit.function], source)
        if restored is None:
            lost.append(unit)
        else:
            content = restored
    return content, lost


def _carry_whole(change: Change, result: Carried, unit: Unit) -> None:
    current = result.view.read(unit.path)
    if unit.kind == "add" and current in {None, change.new(unit.path)}:
        result.view = result.view.with_files({unit.path: change.repository.show(change.target, unit.path)})
    elif unit.kind == "delete" and current in {None, change.old(unit.path)}:
        result.view = result.view.with_files({unit.path: None})
    else:
        _conflict(result, [unit])
        return
    result.moved.append(unit)


def _conflict(result: Carried, units: list[Unit]) -> None:
    result.conflicts += units
    result.edits += [edit for unit in units for edit in unit.edits]
