"""The ways to move one change into a tree, cheapest and most faithful first, and what each must be checked against.

A tree that is judged as wanted shows something about the culprit only if nothing else explains it:

- where whole functions were put back as they were, what other commits changed in them went too. The *control* is the
  same tree with the culprit's change left in its place: it must be judged the opposite way;
- where only a part of the change was moved (the rest conflicts, or is not needed), the same part moved *at home*, in
  the culprit or its parent, where nothing conflicts, must be judged as wanted too: what is left does not matter there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from butfor.evidence.runs import Tree
from butfor.evidence.suspects import FunctionRef
from butfor.patching.lending import Loan, give, loan
from butfor.patching.sources import is_source
from butfor.patching.transfers import Carried, Change, Style, Unit, View, carry

STYLES: tuple[tuple[Style, str], ...] = (
    ("hunks", "hunk by hunk, source files only"),
    ("mixed", "hunk by hunk, and functions as they were where hunks conflict"),
    ("functions", "its functions as they were"),
)
Origin = Literal["revert", "hunks", "functions"]
ORIGINS: dict[Style, Origin] = {"hunks": "hunks", "mixed": "functions", "functions": "functions"}
NAMED = 3
"""So many names of a part are said; the rest is counted."""


@dataclass(frozen=True)
class Control:
    """A tree that must be judged `as wanted` too, or the `opposite` way, for its attempt to count."""

    tree: Tree
    expected: Literal["as wanted", "opposite"]
    words: str


@dataclass(frozen=True)
class Attempt:
    """A tree to run. `complete`: the whole change is in it (docs and tests aside). `reason`: what is left out.

    `restored`: units whose functions were put back as they were, where others changed them too.
    """

    tree: Tree
    method: str
    origin: Origin
    complete: bool
    reason: str = ""
    controls: tuple[Control, ...] = ()
    restored: tuple[Unit, ...] = ()


def plain(change: Change, revision: str) -> tuple[Attempt | None, str]:
    """Git's own 3-way merge, docs and tests that conflict left out; or why there is none."""
    merged = change.repository.merge_files(change.source, revision, change.target)
    blocking = [path for path in merged.conflicts if is_source(path)]
    if blocking:
        return None, f"3-way: conflict in {', '.join(blocking[:5])}"
    left_out = [path for path in merged.conflicts if not is_source(path)]
    reason = f"left out: {', '.join(left_out[:5])}" if left_out else ""
    method = "3-way, conflicting docs and tests left out" if left_out else "plain 3-way"
    if not merged.files:
        return None, "3-way: nothing of it is there to move"
    return Attempt(Tree(revision=revision, overlay=merged.files, label=method), method, "revert", True, reason), ""


def styled(change: Change, base: View, units: Sequence[Unit] | None = None) -> Iterator[Attempt]:
    """The change (or some units of it) carried in each style; a style that moves nothing is left out."""
    seen: list[dict[str, bytes | None]] = []
    for style, method in STYLES:
        carried = carry(change, base, style, units)
        lent = loan(change, carried.view) if carried.moved else {}
        carried.view = give(change, carried.view, lent)
        overlay = carried.view.tree.overlay
        if not carried.moved or overlay == base.tree.overlay or overlay in seen:
            continue
        seen.append(overlay)
        complete = len(carried.moved) == len(change.units)
        words = method if complete else f"in part ({_share(change, carried.moved)}): {method}"
        words += f", with what it imports from {_names(sorted(lent))}" if lent else ""
        lost = _names([unit.name for unit in carried.conflicts])
        tree = carried.view.tree.model_copy(update={"label": words})
        reason = f"conflict in {lost}" if lost else ""
        controls = _controls(change, base, carried, lent, complete=complete)
        shared = tuple(carried.restored) if any(one.expected == "opposite" for one in controls) else ()
        yield Attempt(tree, words, ORIGINS[style], complete, reason, controls, shared)


def _share(change: Change, moved: Sequence[Unit]) -> str:
    left = [unit.name for unit in change.units if unit not in moved]
    return f"{_names([unit.name for unit in moved])}; left as it is: {_names(left)}"


def _names(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if names[NAMED:] else "")


def _controls(change: Change, base: View, carried: Carried, lent: Loan, *, complete: bool) -> tuple[Control, ...]:
    found: list[Control] = []
    if carried.restored or lent:
        stay = Change(change.repository, change.source, change.source, change.label)
        units = [replace(unit, edits=()) for unit in carried.restored]
        others = give(change, carry(stay, base, "functions", units).view if units else base, lent).tree
        if others.overlay != base.tree.overlay:
            what = "what others changed in these functions" if carried.restored else "what is imported"
            found.append(Control(others, "opposite", f"{what} moved alone"))
    if not complete:
        # what was put back there came with the imports and the state that it needs: so it must here
        hunks = [unit for unit in carried.moved if unit not in carried.restored]
        moved = carry(change, home(change), "hunks", hunks).view
        part = carry(change, moved, "functions", carried.restored).view
        found.append(at_home(change, (give(change, part, loan(change, part)) if lent else part).tree))
    return tuple(found)


def home(change: Change) -> View:
    """Where the change was made: nothing of it conflicts there."""
    return View(change.repository, Tree(revision=change.source))


def at_home(change: Change, tree: Tree) -> Control:
    """The control of a part."""
    return Control(tree, "as wanted", f"the same part at {change.source[:12]}")


def without_removals(change: Change) -> list[Unit] | None:
    """The change's units but for whole files that it removes; None when it removes none."""
    kept = [unit for unit in change.units if unit.kind != "delete"]
    return kept if kept and len(kept) < len(change.units) else None


def parts(change: Change, hints: Sequence[FunctionRef]) -> list[list[Unit]]:
    """Subsets of the change's units worth trying: hinted functions first, then files, single units, complements.

    Of equally likely ones the one with more edits comes first: the more of a change a part holds, the sooner the cause.
    """
    units = [unit for unit in change.units if unit.kind != "delete"]
    if len(units) < 2:
        return []
    ranked = sorted(units, key=lambda unit: (rank(unit.path, unit.function, hints), -len(unit.edits)))
    files = list(dict.fromkeys(unit.path for unit in ranked))
    by_file = [[unit for unit in units if unit.path == path] for path in files]
    by_file.sort(key=lambda group: (min(rank(unit.path, unit.function, hints)[0] for unit in group), -_size(group)))
    singles = [[unit] for unit in ranked]
    complements = [[other for other in units if other is not unit] for unit in ranked]
    found: list[list[Unit]] = []
    for subset in [singles[0], *by_file, *singles[1:], *complements]:
        if len(subset) < len(change.units) and subset not in found:
            found.append(subset)
    return found


def _size(units: Sequence[Unit]) -> int:
    return sum(len(unit.edits) for unit in units)


def rank(path: str, function: str, hints: Sequence[FunctionRef]) -> tuple[int, int]:
    """A sort key: functions that are likely to matter first, then their files, then the rest."""
    for place, hint in enumerate(hints):
        if hint.file == path and function and hint.name.endswith(function):
            return (0, place)
    same_file = any(hint.file == path for hint in hints)
    return (1 if same_file else 2, 0)
