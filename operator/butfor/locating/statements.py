"""A statement: what it says, worked out once and shared by all places and revisions where it stands."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cached_property

from butfor.locating import syntax
from butfor.locating.lexicons import fold, tokens, words
from butfor.locating.texts import text_of


class Saying:
    """What a statement says: a syntax tree, or a raw line where there is none."""

    def __init__(self, node: ast.AST | None, raw: str = "") -> None:
        self.node, self.raw = node, raw

    @cached_property
    def text(self) -> str:
        """The normalised text."""
        return self.raw if self.node is None else text_of(self.node)

    @cached_property
    def tokens(self) -> tuple[str, ...]:
        """Names, attributes, keyword names and word-like strings, in order."""
        if self.node is None:
            return tuple(words(self.raw))
        return tuple(token for part in syntax.own(self.node) for token in tokens(part))

    @cached_property
    def likeness(self) -> str:
        """A key that statements share which say the same in other spelling: kind, names and strings, in order."""
        if self.node is None:
            return fold(self.raw)
        names = " ".join(fold(token) for token in self.tokens)
        return f"{type(self.node).__name__} {names}" if names else self.text

    @cached_property
    def used(self) -> frozenset[str]:
        """Names it reads; attributes with a dot before them."""
        return frozenset(syntax.used(self.node) if self.node else ())

    @cached_property
    def defined(self) -> frozenset[str]:
        """Names it binds or changes; attributes with a dot before them."""
        return frozenset(syntax.defined(self.node) if self.node else ())

    @cached_property
    def binds(self) -> frozenset[str]:
        """Names it gives a value to: targets, keywords, dictionary keys, parameters."""
        return frozenset(syntax.binds(self.node) if self.node else ())

    @cached_property
    def shows(self) -> frozenset[str]:
        """Those of the names it binds that code elsewhere sees: attributes, keywords, keys, a definition's own name."""
        return frozenset(syntax.shows(self.node) if self.node else ())

    @cached_property
    def calls(self) -> tuple[str, ...]:
        """Last names of what it calls."""
        return tuple(dict.fromkeys(syntax.called(self.node))) if self.node else ()

    @cached_property
    def effects(self) -> frozenset[str]:
        """What it does that can raise, block or take long, folded; empty for raw lines."""
        return frozenset(map(fold, syntax.effects(self.node))) if self.node else frozenset()


@dataclass(frozen=True, eq=False)
class Statement:
    """A statement, or the header of a compound one: lines `line..end` (from 1)."""

    line: int
    end: int
    said: Saying
    enclosing: tuple[int, ...] = ()
    """Lines at which the compound statements around it begin, outermost first."""

    @classmethod
    def of_line(cls, line: int, raw: str) -> Statement:
        """A line of a text that is no Python."""
        return cls(line, line, Saying(None, raw))

    def moved_by(self, lines: int) -> Statement:
        """The same further down."""
        if not lines:
            return self
        return Statement(self.line + lines, self.end + lines, self.said, tuple(n + lines for n in self.enclosing))

    @property
    def node(self) -> ast.AST | None:
        """Its syntax tree; None outside Python."""
        return self.said.node

    @property
    def text(self) -> str:
        """The normalised text."""
        return self.said.text

    @property
    def tokens(self) -> tuple[str, ...]:
        """What it mentions."""
        return self.said.tokens

    @property
    def calls(self) -> tuple[str, ...]:
        """What it calls."""
        return self.said.calls
