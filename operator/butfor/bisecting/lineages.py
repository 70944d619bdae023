"""The candidates of a bisection as a graph: who is whose ancestor, and what known verdicts leave over.

Nothing here runs code or reads a repository; revisions are indexes into `shas`, parents before children.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class CommitLike(Protocol):
    """What a lineage needs to know of a commit."""

    @property
    def sha(self) -> str:
        """The full id."""
        ...

    @property
    def parents(self) -> tuple[str, ...]:
        """Full ids, first parent first."""
        ...

    @property
    def subject(self) -> str:
        """The first line of the message."""
        ...


@dataclass(frozen=True)
class Lineage:
    """Commits of good..bad, oldest first. `ancestors[i]` is a bit set of i and its ancestors in the range."""

    shas: list[str]
    parents: list[tuple[str, ...]]
    subjects: list[str]
    index: dict[str, int] = field(default_factory=dict)
    ancestors: list[int] = field(default_factory=list)

    @staticmethod
    def of(commits: Sequence[CommitLike]) -> Lineage:
        """`commits` newest first, children before their parents, as `git log --topo-order` prints them."""
        ordered = list(reversed(commits))
        lineage = Lineage([c.sha for c in ordered], [tuple(c.parents) for c in ordered], [c.subject for c in ordered])
        for i, sha in enumerate(lineage.shas):
            bits = 1 << i
            for parent in lineage.parents[i]:
                if parent in lineage.index:
                    bits |= lineage.ancestors[lineage.index[parent]]
            lineage.index[sha] = i
            lineage.ancestors.append(bits)
        return lineage

    def __len__(self) -> int:
        return len(self.shas)

    def row(self, i: int) -> NDArray[np.bool_]:
        """`ancestors[i]` as a boolean row, one column per commit."""
        size = len(self.shas)
        raw = np.frombuffer(self.ancestors[i].to_bytes((size + 7) // 8, "little"), dtype=np.uint8)
        return np.unpackbits(raw, count=size, bitorder="little").astype(np.bool_)

    def remaining(self, bad: Iterable[int], good: Iterable[int]) -> int:
        """Bit set of the commits that can be first bad: ancestors of every bad one and of no good one."""
        left = (1 << len(self.shas)) - 1
        for i in bad:
            left &= self.ancestors[i]
        for i in good:
            left &= ~self.ancestors[i]
        return left


def members(bits: int) -> Iterator[int]:
    """The indexes in a bit set, lowest first."""
    while bits:
        low = bits & -bits
        yield low.bit_length() - 1
        bits ^= low
