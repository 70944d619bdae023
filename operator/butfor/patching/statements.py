"""What differs between two versions of a file, as a tree of parts that can be taken over apart; pure.

In Python, statements are aligned in their blocks: a compound statement that is there on both sides gives a part for its
header and parts for what differs in its bodies, down to single statements, and where one spans several lines, to its
lines. So a part never tears a statement from its body. Every part is a set of line edits of the old content; all
of them together make the new content's statements (comments and blank lines aside). Neighbours that differ also form a
part together. Other files give their hunks.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from butfor.patching import edits
from butfor.patching.alignments import align, text_likeness
from butfor.patching.edits import Edit, Lines
from butfor.patching.sources import is_python, parsed

COMPOUND = (
    ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try,
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef,
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """A part of a change: its edits in order, and the smaller parts that it is made of (none for a leaf)."""

    label: str
    edits: tuple[Edit, ...]
    parts: tuple[Part, ...] = ()

    def walk(self) -> Iterator[Part]:
        """Itself and all below it, larger ones first."""
        level: list[Part] = [self]
        while level:
            yield from level
            level = [small for part in level for small in part.parts]


@dataclass(frozen=True)
class _Section:
    """A header with its body, such as one branch; lines `start` to `body`, and `body` to `end`."""

    kind: str
    start: int
    body: int
    end: int
    items: tuple[_Item, ...]
    lines: tuple[bytes, ...]

    @cached_property
    def key(self) -> str:
        return self.kind + _plain(self.lines[: self.body - self.start]) + "".join(item.key for item in self.items)

    @cached_property
    def header(self) -> str:
        return _plain(self.lines[: self.body - self.start])

    def likeness(self, other: _Section) -> float:
        if self.kind != other.kind and {self.kind, other.kind} != {"if", "elif"}:
            return 0.0
        if self.header == other.header:
            return 1.0
        return (text_likeness(self.header, other.header) + text_likeness(self.key, other.key)) / 2


@dataclass(frozen=True)
class _Item:
    """A statement with the comments before it; `sections` is empty for a simple one."""

    node: ast.stmt
    start: int
    end: int
    lines: tuple[bytes, ...]
    sections: tuple[_Section, ...] = ()

    @cached_property
    def key(self) -> str:
        return ast.dump(self.node)

    @cached_property
    def text(self) -> str:
        return _plain(self.lines)

    def likeness(self, other: _Item) -> float:
        if self.key == other.key:
            return 1.0
        if type(self.node) is not type(other.node):
            return 0.0
        mine, its = getattr(self.node, "name", None), getattr(other.node, "name", None)
        if mine is not None or its is not None:
            return 0.9 if mine == its else 0.0
        if not self.sections or not other.sections:
            return text_likeness(self.text, other.text)
        return max(one.likeness(its) for one in self.sections[:8] for its in other.sections[:8])


def changed_parts(path: str, old: bytes, new: bytes) -> list[Part]:
    """The parts that make `new` of `old`, those that stand alone at the top level.

    A file that is no Python, or does not parse, gives its hunks.
    """
    before, after = (parsed(old), parsed(new)) if is_python(path) else (None, None)
    if before is None or after is None:
        return _hunks(path, old, new)
    a, b = edits.split(old), edits.split(new)
    return _bodies(path, _items(before.body, 0, a), _items(after.body, 0, b), 0)


def _hunks(path: str, old: bytes, new: bytes) -> list[Part]:
    lines = edits.split(old)
    leaves = [Part(_label(edit.new or lines[edit.start : edit.end]), (edit,)) for edit in edits.between(path, old, new)]
    return [_group(path, leaves)] if len(leaves) > 1 else leaves


def _items(body: Sequence[ast.stmt], low: int, lines: Lines) -> tuple[_Item, ...]:
    found: list[_Item] = []
    start = low
    for node in body:
        end = node.end_lineno or node.lineno
        if found and node.lineno - 1 < found[-1].end:  # two statements on one line stay together
            last = found.pop()
            found.append(_Item(last.node, last.start, end, tuple(lines[last.start : end])))
        else:
            found.append(_Item(node, start, end, tuple(lines[start:end]), _sections(node, start, lines)))
        start = end
    return tuple(found)


def _sections(node: ast.stmt, start: int, lines: Lines) -> tuple[_Section, ...]:
    if not isinstance(node, COMPOUND):
        return ()
    found: list[_Section] = []
    for kind, body in _bodies_of(node, lines):
        first = min([body[0].lineno, *(d.lineno for d in getattr(body[0], "decorator_list", []))]) - 1
        low = first
        while low > start and _blank(lines[low - 1]):
            low -= 1
        if low <= max(start, node.lineno - 1) or body[0].lineno == node.lineno:
            return ()  # a body on its header's line cannot be parted from it
        end = body[-1].end_lineno or body[-1].lineno
        found.append(_Section(kind, start, low, end, _items(body, low, lines), tuple(lines[start:end])))
        start = end
    return tuple(found)


def _bodies_of(node: ast.stmt, lines: Lines) -> Iterator[tuple[str, list[ast.stmt]]]:
    yield type(node).__name__.lower(), getattr(node, "body", [])
    for handler in getattr(node, "handlers", []):
        yield "except", handler.body
    orelse = getattr(node, "orelse", [])
    while len(orelse) == 1 and isinstance(orelse[0], ast.If) and _starts(lines, orelse[0], b"elif"):
        yield "elif", orelse[0].body
        orelse = orelse[0].orelse
    if orelse:
        yield "else", orelse
    if getattr(node, "finalbody", []):
        yield "finally", getattr(node, "finalbody", [])


def _starts(lines: Lines, node: ast.stmt, word: bytes) -> bool:
    return lines[node.lineno - 1].lstrip().startswith(word)


def _bodies(path: str, old: Sequence[_Item], new: Sequence[_Item], low: int) -> list[Part]:
    """Parts for two blocks; `low` is the line of the old content where an insertion into an empty block goes."""
    runs: list[list[Part]] = [[]]
    place = low
    for one, other in align(old, new, lambda i: i.key, _Item.likeness):
        part = _paired(path, one, other, place)
        place = one.end if one else place
        if part is None:
            runs.append([])
        else:
            runs[-1].append(part)
    return [run[0] if len(run) == 1 else _group(run[0].label, run) for run in runs if run]


def _paired(path: str, one: _Item | None, other: _Item | None, place: int) -> Part | None:
    if one is None or other is None:
        return _leaf(path, one, other, place)
    if one.key == other.key:
        return None
    if one.sections and other.sections:
        return _branches(path, one, other)
    return _leaf(path, one, other, place)


def _branches(path: str, old: _Item, new: _Item) -> Part | None:
    found: list[Part] = []
    place = old.start
    for one, other in align(old.sections, new.sections, lambda s: s.key, _Section.likeness):
        if one is None or other is None:
            leaf = _leaf(path, one, other, place)
            found += [leaf] if leaf else []
        elif one.key != other.key:
            found += _section(path, one, other)
        place = one.end if one else place
    if not found:
        return None
    return found[0] if len(found) == 1 else _group(_label(old.lines), found)


def _section(path: str, old: _Section, new: _Section) -> list[Part]:
    header: list[Part] = []
    if old.header != new.header:
        its = new.lines[: new.body - new.start]
        header = [Part(_label(its), (Edit(path, old.start, old.body, tuple(its)),))]
    body = _bodies(path, old.items, new.items, old.body)
    if len(body) > 1 and header:
        body = [_group(_label(old.lines), body)]
    return [*header, *body]


def _group(label: str, parts: Sequence[Part]) -> Part:
    return Part(label, tuple(edit for part in parts for edit in part.edits), tuple(parts))


def _leaf(path: str, one: _Item | _Section | None, other: _Item | _Section | None, place: int) -> Part | None:
    start, end = (one.start, one.end) if one else (place, place)
    old, new = (one.lines if one else ()), (other.lines if other else ())
    label = _label(new or old)
    whole = Part(label, (Edit(path, start, end, tuple(new)),))
    inner = edits.between(path, b"".join(old), b"".join(new)) if old and new else []
    if not old or not new or len(inner) < 2:
        return whole
    moved = [Edit(path, edit.start + start, edit.end + start, edit.new) for edit in inner]
    return _group(label, [Part(label, (edit,)) for edit in moved])


def _blank(line: bytes) -> bool:
    text = line.strip()
    return not text or text.startswith(b"#")


def _plain(lines: Sequence[bytes]) -> str:
    return b" ".join(line.strip() for line in lines if not _blank(line)).decode("utf-8", "replace")


def _label(lines: Sequence[bytes]) -> str:
    return next((line.strip().decode("utf-8", "replace")[:80] for line in lines if not _blank(line)), "")
