"""Ranked commits and functions: what locate hands on."""

from __future__ import annotations

from butfor.evidence._base import Frozen


class FunctionRef(Frozen):
    """A function at the bad revision; `name` is dotted from the module, e.g. `pkg.module.Class.method`."""

    name: str
    file: str
    line: int


class Term(Frozen):
    """One term of the score: `weight * value`, and the graph nodes or history facts that it cites."""

    name: str
    weight: float
    value: float
    evidence: list[str] = []
    detail: str = ""


class Suspect(Frozen):
    """A commit of good..bad with its score (the sum of its terms) and a probability that sums to at most 1."""

    commit: str
    subject: str = ""
    author_date: str = ""
    score: float
    probability: float = 0.0
    features: list[Term] = []
    evidence: list[str] = []
    functions: list[FunctionRef] = []
    files: list[str] = []


class Ranking(Frozen):
    """All commits of good..bad, best first; `candidates` is how many there are. `functions` are best first."""

    suspects: list[Suspect] = []
    functions: list[FunctionRef] = []
    candidates: int = 0
    good: str = ""
    bad: str = ""
    notes: list[str] = []
