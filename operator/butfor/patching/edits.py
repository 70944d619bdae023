"""Line edits: between two contents, applied to a third, written as a diff. Pure functions over bytes.

Lines keep their line feed and are split at line feeds only, so that joining them gives the same bytes.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

Lines = list[bytes]
EXACT_LINES = 4000
"""Up to so many differing lines are aligned exactly; beyond, frequent lines are left out of the alignment."""
CONTEXT = 3
ALIKE = 0.6
"""Share of two lines that must be the same for one to count as a change of the other."""


@dataclass(frozen=True)
class Edit:
    """Replace lines `start` to `end` (from 0, end excluded) of a file by `new`; an insertion has start == end."""

    path: str
    start: int
    end: int
    new: tuple[bytes, ...]


@dataclass(frozen=True)
class Placed:
    """Edits in the coordinates of another content, and those that found no place there."""

    edits: list[Edit]
    conflicts: list[Edit]


def split(content: bytes) -> Lines:
    """Lines with their line feeds."""
    parts = content.split(b"\n")
    return [part + b"\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])


def between(path: str, old: bytes, new: bytes) -> list[Edit]:
    """The edits that make `new` of `old`, in order."""
    a, b = split(old), split(new)
    return [Edit(path, i1, i2, tuple(b[j1:j2])) for tag, i1, i2, j1, j2 in _opcodes(a, b) if tag != "equal"]


def apply(old: bytes, edits: Iterable[Edit]) -> bytes:
    """`old` with edits applied; they may come in any order and must not overlap (ValueError)."""
    lines = split(old)
    out: Lines = []
    position = 0
    for edit in sorted(edits, key=lambda e: (e.start, e.end)):
        if edit.start < position:
            raise ValueError(f"edits overlap at line {edit.start + 1} of {edit.path}")
        out += lines[position : edit.start] + list(edit.new)
        position = edit.end
    return b"".join(out + lines[position:])


def transplant(base: bytes, ours: bytes, edits: Sequence[Edit]) -> Placed:
    """Find the place of each edit of `base` in `ours`: by aligning both, else where its lines stand uniquely.

    An edit conflicts when the lines that it replaces were changed; one that is there already vanishes.
    """
    if base == ours:
        return Placed(list(edits), [])
    a, b = split(base), split(ours)
    mapping = _mapping(base, ours)
    placed: list[Edit] = []
    conflicts: list[Edit] = []
    for edit in edits:
        found = _aligned(edit, a, b, mapping) or _searched(edit, a, b)
        if found is None or any(_overlap(found, other) for other in placed):
            conflicts.append(edit)
        elif b[found.start : found.end] != list(found.new):
            placed.append(found)
    return Placed(placed, conflicts)


def by_statement(edit: Edit, old: Sequence[bytes]) -> list[Edit]:
    """One edit cut to blocks; `old` are the lines that it replaces. All of them together are the edit.

    A block is a line with the deeper indented lines under it: a statement with its body, so that none is left
    behind to fall under another's header. A replaced block goes with the new one that resembles it most, in order; the
    others are deleted or inserted.
    """
    before, after = blocks(old), blocks(edit.new)
    pairs: dict[int, int] = {}
    last = -1
    for k, (start, _) in enumerate(after):
        likely = [(_likeness(old[before[i][0]], edit.new[start]), -i) for i in range(last + 1, len(before))]
        likeness, i = max(likely, default=(0.0, 0))
        if likeness >= ALIKE:
            pairs[k] = last = -i
    found = [_cut(edit, *before[i], ()) for i in range(len(before)) if i not in pairs.values()]
    place = len(old)
    inserted: list[Edit] = []
    for k in reversed(range(len(after))):
        place = before[pairs[k]][0] if k in pairs else place
        end = before[pairs[k]][1] if k in pairs else place
        inserted.append(_cut(edit, place, end, edit.new[slice(*after[k])]))
    return sorted([*found, *reversed(inserted)], key=lambda e: (e.start, e.end))


def _cut(edit: Edit, start: int, end: int, new: tuple[bytes, ...]) -> Edit:
    return Edit(edit.path, edit.start + start, edit.start + end, new)


def blocks(lines: Sequence[bytes]) -> list[tuple[int, int]]:
    """Where lines fall into blocks: each starts at a line that is indented no deeper than the block's first.

    Closing brackets belong to the block before; comments and decorators lead the block after them.
    """
    starts: list[int] = []
    depth, leading = 0, False
    for i, line in enumerate(lines):
        text = line.strip()
        if not text:
            continue
        if not starts or (indent(line) <= depth and text[:1] not in b")]}" and not leading):
            starts.append(i)
            depth = indent(line)
        leading = text.startswith((b"#", b"@"))
    starts = [0, *starts[1:]] if lines else []
    return list(zip(starts, [*starts[1:], len(lines)], strict=True)) if starts else []


def _likeness(one: bytes, other: bytes) -> float:
    a, b = one.strip().decode("utf-8", "replace")[:400], other.strip().decode("utf-8", "replace")[:400]
    return difflib.SequenceMatcher(None, a, b, autojunk=False).ratio() if a and b else 0.0


def _overlap(one: Edit, other: Edit) -> bool:
    return one.start < other.end and other.start < one.end


def _opcodes(a: Lines, b: Lines) -> list[tuple[str, int, int, int, int]]:
    head = 0
    while head < min(len(a), len(b)) and a[head] == b[head]:
        head += 1
    tail = 0
    while tail < min(len(a), len(b)) - head and a[-1 - tail] == b[-1 - tail]:
        tail += 1
    middle_a, middle_b = a[head : len(a) - tail], b[head : len(b) - tail]
    rough = max(len(middle_a), len(middle_b)) > EXACT_LINES
    matcher = difflib.SequenceMatcher(None, middle_a, middle_b, autojunk=rough)
    inner = [(tag, i1 + head, i2 + head, j1 + head, j2 + head) for tag, i1, i2, j1, j2 in matcher.get_opcodes()]
    ends = [("equal", len(a) - tail, len(a), len(b) - tail, len(b))]
    return [("equal", 0, head, 0, head), *inner, *ends]


@lru_cache(maxsize=256)
def _mapping(old: bytes, new: bytes) -> Mapping[int, int]:
    a, b = split(old), split(new)
    return {i1 + k: j1 + k for tag, i1, i2, j1, _ in _opcodes(a, b) if tag == "equal" for k in range(i2 - i1)}


def _aligned(edit: Edit, a: Lines, b: Lines, mapping: Mapping[int, int]) -> Edit | None:
    before = -1 if edit.start == 0 else mapping.get(edit.start - 1)
    after = len(b) if edit.end == len(a) else mapping.get(edit.end)
    if before is not None and after is not None and tuple(b[before + 1 : after]) == edit.new:
        return Edit(edit.path, before + 1, after, edit.new)  # it is there already
    if edit.start == edit.end:
        place = after if before is None or (edit.start == 0 and edit.end < len(a)) else before + 1
        return None if place is None else Edit(edit.path, place, place, edit.new)
    places = [mapping.get(k) for k in range(edit.start, edit.end)]
    first = places[0]
    if first is None or places != list(range(first, first + len(places))):
        return None
    return Edit(edit.path, first, first + len(places), edit.new)


def _searched(edit: Edit, a: Lines, b: Lines) -> Edit | None:
    """Where the replaced lines with some context stand exactly once, also when indented otherwise."""
    for around in range(CONTEXT, -1, -1):
        low, high = max(0, edit.start - around), min(len(a), edit.end + around)
        block = a[low:high]
        if sum(bool(line.strip()) for line in block) < 2:
            return None
        place = _unique(block, b)
        if place is not None:
            start = place + edit.start - low
            shift = _shift(block, b[place : place + len(block)])
            return Edit(edit.path, start, start + edit.end - edit.start, tuple(reindent(edit.new, shift)))
    return None


def _unique(block: Lines, lines: Lines) -> int | None:
    for key in (bytes, bytes.strip):
        wanted = [key(line) for line in block]
        keyed = [key(line) for line in lines]
        found = [i for i in range(len(lines) - len(block) + 1) if keyed[i : i + len(block)] == wanted]
        if len(found) == 1 and _shift(block, lines[found[0] : found[0] + len(block)]) is not None:
            return found[0]
    return None


def _shift(block: Lines, other: Lines) -> int | None:
    """By how many columns `other` is indented further than `block`; None when it differs from line to line."""
    shifts = {indent(o) - indent(m) for m, o in zip(block, other, strict=True) if m.strip()}
    return shifts.pop() if len(shifts) == 1 else None


def indent(line: bytes) -> int:
    """Leading blanks of a line."""
    return len(line) - len(line.lstrip(b" \t"))


def reindent(lines: Iterable[bytes], shift: int | None) -> Lines:
    """Lines moved by `shift` columns; blank lines stay."""
    if not shift:
        return list(lines)
    if shift > 0:
        return [b" " * shift + line if line.strip() else line for line in lines]
    return [line[min(-shift, indent(line)) :] if line.strip() else line for line in lines]
