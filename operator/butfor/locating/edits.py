"""What each commit of a range changed, as statements added to and removed from regions.

Only what changes meaning is kept: a statement that stands on both sides of a commit's diff of a region (reformatted,
re-indented) cancels out, unless it is a function's and runs in another order than before. Merges carry what the merge
itself changed; that is what `changes` gives for them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from difflib import SequenceMatcher

from butfor.locating.renames import renamed
from butfor.locating.sources import MODULE, Region, Source, Statement
from butfor.ports.diffs import FileChange, Hunk

MOST_LINES, LONGEST_LINE = 2000, 1000
MOST_ORDERED = 500
"""Statements of a function whose order is looked at."""


@dataclass(frozen=True)
class Edit:
    """What one commit changed in one region: `path` is the file's name at the commit, `region` a dotted name."""

    path: str
    region: str
    added: tuple[Statement, ...] = ()
    removed: tuple[Statement, ...] = ()
    moved: frozenset[str] = frozenset()
    """Texts whose like the same commit took from, or gave to, another region (renamed, extracted, inlined)."""
    formerly: str = ""
    """The name that the region had before the commit, where the commit renamed it."""

    @property
    def fresh(self) -> tuple[Statement, ...]:
        """What was added and was not there before."""
        return tuple(s for s in self.added if s.text not in self.moved)

    @property
    def gone(self) -> tuple[Statement, ...]:
        """What was removed and went nowhere else."""
        return tuple(s for s in self.removed if s.text not in self.moved)

    @property
    def size(self) -> int:
        """How many statements are new or gone."""
        return len(self.fresh) + len(self.gone)


def by_regions(change: FileChange, old: Source, new: Source) -> list[Edit]:
    """Edits of one Python file, by region; by lines where one side does not parse."""
    if not (new.python and old.python):
        return by_lines(change)
    added = _touched(new, [(h.new_start, h.new_len) for h in change.hunks])
    removed = _touched(old, [(h.old_start, h.old_len) for h in change.hunks])
    names = renamed(old, new)
    before = {after: name for name, after in names.items()}
    removed = {names.get(name, name): found for name, found in removed.items()}
    ordered = {
        name: _reordered(old.by_name.get(before.get(name, name)), new.by_name[name], added[name]) for name in added
    }
    edits = _paired(change.name, added, removed, ordered)
    return [replace(e, formerly=before.get(e.region, "")) for e in edits]


def undo(text: str, hunks: list[Hunk]) -> str:
    """The text before a change, from the text after it and the change's hunks."""
    if not text and all(not h.new_len for h in hunks):
        return "".join(f"{line}\n" for hunk in hunks for line in hunk.removed)
    lines = text.split("\n")
    for hunk in reversed(hunks):
        start = hunk.new_start - 1 if hunk.new_len else hunk.new_start
        lines[start : start + hunk.new_len] = hunk.removed
    return "\n".join(lines)


def _touched(source: Source, spans: list[tuple[int, int]]) -> dict[str, list[Statement]]:
    found: dict[str, list[Statement]] = {}
    wanted = [(start, start + length - 1) for start, length in spans if length]
    for region in source.regions:
        if any(first <= region.end and last >= region.line for first, last in wanted):
            hits = [s for s in region.statements if any(a <= s.end and b >= s.line for a, b in wanted)]
            if hits:
                found[region.name] = hits
    return found


def _reordered(old: Region | None, new: Region, added: list[Statement]) -> list[Statement]:
    """Those of the added statements of a function that stood elsewhere in it, seen from what kept its order."""
    if old is None or not new.is_function or max(len(old.statements), len(new.statements)) > MOST_ORDERED:
        return []
    before, after = [s.text for s in old.statements], [s.text for s in new.statements]
    blocks = SequenceMatcher(None, before, after, autojunk=False).get_matching_blocks()
    kept = {position for block in blocks for position in range(block.b, block.b + block.size)}
    touched = {s.line for s in added}
    return [s for position, s in enumerate(new.statements) if position not in kept and s.line in touched]


def _paired(
    path: str, added: Mapping[str, list[Statement]], removed: Mapping[str, list[Statement]],
    ordered: Mapping[str, list[Statement]] | None = None,
) -> list[Edit]:  # fmt: skip
    edits = []
    for name in {**removed, **added}:
        new, old = added.get(name, []), removed.get(name, [])
        same = Counter(s.text for s in new) & Counter(s.text for s in old)
        fresh, left_old = _minus(new, same), _minus(old, same)
        lines = {s.line for s in fresh}
        left_new = [*fresh, *(s for s in (ordered or {}).get(name, []) if same[s.text] and s.line not in lines)]
        if left_new or left_old:
            edits.append(Edit(path, name, tuple(left_new), tuple(left_old)))
    return edits


def _minus(statements: list[Statement], same: Counter[str]) -> list[Statement]:
    left = Counter(same)
    kept = []
    for statement in statements:
        if left[statement.text] > 0:
            left[statement.text] -= 1
        else:
            kept.append(statement)
    return kept


def by_lines(change: FileChange) -> list[Edit]:
    """Edits of a file that is one region: the diff's lines are its statements."""
    added = [s for h in change.hunks for s in _raw(h.new_start, h.added)]
    removed = [s for h in change.hunks for s in _raw(h.old_start, h.removed)]
    return _paired(change.name, {MODULE: added}, {MODULE: removed})


def _raw(start: int, lines: list[str]) -> list[Statement]:
    # a change of more lines than anyone writes is generated or data: its beginning stands for it
    kept = enumerate((line[:LONGEST_LINE].strip() for line in lines[:MOST_LINES]), start)
    return [Statement.of_line(n, line) for n, line in kept if line]


def without_moves(edits: list[Edit]) -> list[Edit]:
    """The edits of one commit, with what only changed its region marked as moved."""
    came = Counter(s.said.likeness for e in edits for s in e.added)
    went = Counter(s.said.likeness for e in edits for s in e.removed)
    return [replace(e, moved=_moved(e, came, went)) for e in edits]


def _moved(edit: Edit, came: Counter[str], went: Counter[str]) -> frozenset[str]:
    # within one region a like statement in place of another is a change (of a constant, an operator), not a move
    added = Counter(s.said.likeness for s in edit.added)
    removed = Counter(s.said.likeness for s in edit.removed)
    arrived = [s.text for s in edit.added if went[s.said.likeness] > removed[s.said.likeness]]
    left = [s.text for s in edit.removed if came[s.said.likeness] > added[s.said.likeness]]
    return frozenset((*arrived, *left))


def region_of(source: Source, edit: Edit) -> Region | None:
    """The region of an edit in a later source: by name, else where most of its statements stand now."""
    if edit.region in source.by_name:
        return source.by_name[edit.region]
    likes = {s.said.likeness for s in edit.added} or {s.said.likeness for s in edit.removed}
    overlap = [(len(likes & {s.said.likeness for s in r.statements}), -r.line, r) for r in source.regions]
    best = max(overlap, key=lambda item: item[:2], default=None)
    return best[2] if best and best[0] * 2 > len(likes) else None
