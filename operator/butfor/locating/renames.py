"""Functions that one commit gave another name: matched by what their bodies and names say, within one file.

git follows files only. A function that is gone on one side and one that is new on the other are the same where most
of their words are; where the name was kept in part, a body may have changed more.
"""

from __future__ import annotations

from collections import Counter

from butfor.locating.lexicons import fold, parts
from butfor.locating.sources import Region, Source

ALIKE = 0.5
"""What git asks of files that were renamed."""
LEAST = 0.4
"""Less of a body in common is another function, whatever its name."""
FEWEST_WORDS = 6
"""Shorter bodies are alike by chance."""
MOST_PAIRS = 400


def renamed(old: Source, new: Source) -> dict[str, str]:
    """Old dotted names to new ones, the most alike first, each name in one pair only."""
    gone = [r for r in old.regions if r.is_function and r.name not in new.by_name]
    come = [r for r in new.regions if r.is_function and r.name not in old.by_name]
    if len(gone) * len(come) > MOST_PAIRS:
        return {}
    spoken = {id(r): _words(r) for r in (*gone, *come)}
    pairs = [(_same(a, b, _alike(spoken[id(a)], spoken[id(b)])), a.name, b.name) for a in gone for b in come]
    found: dict[str, str] = {}
    for alike, before, after in sorted(pairs, key=lambda p: (-p[0], p[1], p[2])):
        if alike >= ALIKE and before not in found and after not in found.values():
            found[before] = after
    return found


def _same(before: Region, after: Region, bodies: float) -> float:
    names = [Counter(parts(r.name.rpartition(".")[2])) for r in (before, after)]
    total = names[0].total() + names[1].total()
    named = 2 * (names[0] & names[1]).total() / total if total else 0.0
    return max(bodies, (bodies + named) / 2 if bodies >= LEAST else 0.0)


def _words(region: Region) -> Counter[str]:
    return Counter(fold(token) for statement in region.statements for token in statement.tokens)


def _alike(one: Counter[str], other: Counter[str]) -> float:
    """The share of words in common, 0..1."""
    if min(one.total(), other.total()) < FEWEST_WORDS:
        return 0.0
    return 2 * (one & other).total() / (one.total() + other.total())
