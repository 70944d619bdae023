"""Reading source text: regions (functions, class bodies, module level) and their statements, by Python's `ast`.

A statement is known by its normalised text, so that a commit which only reformats changes no statement. Text that is
not Python is one region with its lines as statements. A file is parsed by its top-level blocks: revisions of a file
share most of them, and what was worked out for a block once holds wherever and whenever it stands.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from butfor.locating.blocks import Block, FunctionNode, Parser
from butfor.locating.statements import Statement

PYTHON = (".py", ".pyi", ".pyw")
LONGEST_SOURCE = 400_000
"""Characters; longer files are written by machines and are read by their diffs' lines alone."""
MODULE = ""
"""The name of the region that holds a module's own statements."""

__all__ = ["LONGEST_SOURCE", "MODULE", "PYTHON", "Region", "Source", "Statement", "read"]


@dataclass(frozen=True)
class Region:
    """A function, a class body or a module's own level: `name` is dotted within the module.

    `pieces` are the blocks that it is made of with the number of lines before each; a function has one.
    """

    name: str
    line: int
    end: int
    pieces: tuple[tuple[Block, int], ...] = ()
    lines: tuple[str, ...] = ()

    @cached_property
    def statements(self) -> list[Statement]:
        """Its own statements in order, those of nested functions and classes left to their regions."""
        if not self.pieces:
            return [Statement.of_line(n, t.strip()) for n, t in enumerate(self.lines, self.line) if t.strip()]
        return [s.moved_by(before) for block, before in self.pieces for s in block.statements]

    def at(self, line: int) -> Statement | None:
        """The innermost statement on a line."""
        found = [s for s in self.statements if s.line <= line <= s.end]
        return min(found, key=lambda s: (s.end - s.line, -s.line), default=None)

    @property
    def is_function(self) -> bool:
        """Whether it is a function, whose own functions share its variables."""
        return any(isinstance(block.scope, FunctionNode) for block, _ in self.pieces)

    @cached_property
    def tokens(self) -> frozenset[str]:
        """The names that its statements mention."""
        return frozenset().union(*(b.tokens for b, _ in self.pieces)) if self.pieces else frozenset()

    @cached_property
    def calls(self) -> list[str]:
        """What its statements call, each once, in order."""
        return list(dict.fromkeys(call for s in self.statements for call in s.calls))


@dataclass(frozen=True)
class Source:
    """One file at one revision; `python` is False where it did not parse."""

    regions: list[Region] = field(default_factory=list)
    python: bool = False

    def at(self, line: int) -> Region | None:
        """The innermost region that holds a line."""
        found = [r for r in self.regions if r.line <= line <= r.end]
        return min(found, key=lambda r: (r.end - r.line, -r.line), default=None)

    @cached_property
    def by_name(self) -> dict[str, Region]:
        """Regions by dotted name; the last of several equal names wins, as in Python."""
        return {region.name: region for region in self.regions}


def read(text: str, path: str, parser: Parser | None = None) -> Source:
    """The regions of a file's text; a `parser` that is given again remembers blocks."""
    if len(text) > LONGEST_SOURCE or "\0" in text:
        return Source()
    lines = tuple(text.splitlines())
    if path.endswith(PYTHON):
        blocks = (parser or Parser()).blocks(text)
        if blocks is not None:
            return Source(list(_regions(blocks, max(1, len(lines)))), python=True)
    return Source([Region(MODULE, 1, max(1, len(lines)), (), lines)])


def _regions(blocks: list[tuple[Block, int]], end: int) -> Iterator[Region]:
    yield Region(MODULE, 1, end, tuple(blocks))
    for block, before in blocks:
        for name, inner in block.definitions:
            yield Region(name, inner.line + before, inner.end + before, ((inner, before),))
