"""The secrets that a capture was seen to hold, searched for everywhere else in it, however they are escaped."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

import ahocorasick

from butfor.capturing.fakes import Faker

MIN_LENGTH = 5
"""Shorter values are replaced where a name marks them, not wherever the same letters stand."""
WORD_LENGTH = 8
"""Shorter values count only as whole words, and not at all where they are letters alone, as `admin` is."""

_VARIANTS: tuple[Callable[[str], str], ...] = (
    lambda v: v,
    lambda v: quote(v, safe=""),
    quote,
    quote_plus,
    lambda v: json.dumps(v)[1:-1],
    lambda v: json.dumps(v, ensure_ascii=False)[1:-1],
    html.escape,
    lambda v: repr(v)[1:-1],
)


@dataclass(frozen=True)
class Hit:
    """A known secret in a text, and what stands for it."""

    start: int
    end: int
    replacement: str


class Vocabulary:
    """Learned secrets and released values."""

    def __init__(self, faker: Faker) -> None:
        self._faker = faker
        self._secrets: set[str] = set()
        self._automaton: ahocorasick.Automaton | None = None
        self.names: set[str] = set()
        """Names of fields seen, lower case: a value that is also one is not looked for everywhere."""
        self.released: set[str] = set()

    def learn(self, value: str) -> None:
        """Take a secret, if it is distinct enough to be looked for."""
        if len(value) < MIN_LENGTH or (len(value) < WORD_LENGTH and value.isalpha()):
            return
        self._secrets.add(value)
        self._automaton = None

    def is_released(self, value: str) -> bool:
        """Whether an allowed field holds this value, alone or inside."""
        return bool(value) and (value in self.released or any(value in r for r in self.released))

    def hits(self, text: str) -> Iterator[Hit]:
        """Every occurrence; may overlap."""
        if self._automaton is None:
            self._automaton = self._build()
        if not len(self._automaton):
            return
        for last, (variant, replacement) in self._automaton.iter(text):
            start, end = last + 1 - len(variant), last + 1
            if len(variant) >= WORD_LENGTH or _whole_word(text, start, end):
                yield Hit(start, end, replacement)

    def leaks(self, text: str) -> bool:
        """Whether a known secret stands in a text that was rewritten."""
        return any(hit.replacement != text[hit.start : hit.end] for hit in self.hits(text))

    def _build(self) -> ahocorasick.Automaton:
        automaton = ahocorasick.Automaton()
        for value in sorted(self._secrets):
            if value.lower() in self.names or self.is_released(value):
                continue
            fake = self._faker.fake(value)
            for write in _VARIANTS:
                variant = _written(write, value)
                if variant:
                    automaton.add_word(variant, (variant, _written(write, fake)))
        if len(automaton):
            automaton.make_automaton()
        return automaton


def _written(write: Callable[[str], str], value: str) -> str:
    try:
        return write(value)
    except UnicodeEncodeError:  # a lone surrogate has no percent-encoding
        return value


def _whole_word(text: str, start: int, end: int) -> bool:
    return not (start and text[start - 1].isalnum()) and not (end < len(text) and text[end].isalnum())
