"""The ways to move one change into a tree, cheapest and most faithful first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from butfor.evidence.runs import Tree
from butfor.evidence.suspects import FunctionRef
from butfor.patching.sources import is_source
from butfor.patching.transfers import Change, Style, Unit, View, carry

STYLES: tuple[tuple[Style, str], ...] = (
    ("hunks", "hunk by hunk, source files only"),
    ("mixed", "hunk by hunk, and functions as they were where hunks conflict"),
    ("functions", "its functions as they were"),
)
Origin = Literal["revert", "hunks", "functions"]
ORIGINS: dict[Style, Origin] = {"hunks": "hunks", "mixed": "functions", "functions": "functions"}


@dataclass(frozen=True)
class Attempt:
    """A tree to run. `complete`: the whole change is in it (docs and tests aside). `reason`: what is left out."""

    tree: Tree
    method: str
    origin: Origin
    complete: bool
    reason: str = ""


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
        overlay = carried.view.tree.overlay
        if not carried.carried or overlay == base.tree.overlay or overlay in seen:
            continue
        seen.append(overlay)
        part = f", only {', '.join(unit.name for unit in units)}" if units is not None else ""
        lost = ", ".join(unit.name for unit in carried.conflicts[:5])
        tree = carried.view.tree.model_copy(update={"label": method + part})
        complete = units is None and not carried.conflicts
        yield Attempt(tree, method + part, ORIGINS[style], complete, f"conflict in {lost}" if lost else "")


def without_removals(change: Change) -> list[Unit] | None:
    """The change's units but for whole files that it removes; None when it removes none."""
    kept = [unit for unit in change.units if unit.kind != "delete"]
    return kept if kept and len(kept) < len(change.units) else None


def parts(change: Change, hints: Sequence[FunctionRef]) -> list[list[Unit]]:
    """Subsets of the change's units worth trying: hinted functions first, then files, single units, complements."""
    units = [unit for unit in change.units if unit.kind != "delete"]
    if len(units) < 2:
        return []
    ranked = sorted(units, key=lambda unit: _rank(unit, hints))
    files = list(dict.fromkeys(unit.path for unit in ranked))
    by_file = [[unit for unit in units if unit.path == path] for path in files]
    singles = [[unit] for unit in ranked]
    complements = [[other for other in units if other is not unit] for unit in ranked]
    found: list[list[Unit]] = []
    for subset in [singles[0], *by_file, *singles[1:], *complements]:
        if len(subset) < len(change.units) and subset not in found:
            found.append(subset)
    return found


def _rank(unit: Unit, hints: Sequence[FunctionRef]) -> tuple[int, int]:
    for place, hint in enumerate(hints):
        if hint.file == unit.path and unit.function and hint.name.endswith(unit.function):
            return (0, place)
    same_file = any(hint.file == unit.path for hint in hints)
    return (1 if same_file else 2, 0)
