"""What names a statement gives a value to that other code sees, and what it merely mentions."""

from __future__ import annotations

from butfor.locating.lexicons import fold, words
from butfor.locating.statements import Statement

MENTIONED = 0.3


def defines(statement: Statement, module: bool, near: float) -> dict[str, float]:
    """Folded names of a statement: 1 where it defines what others see, less where it mentions a name.

    Attributes, keywords, keys and a module's names are seen anywhere; a function's own names only near by.
    """
    if statement.node is None:
        head = statement.text.replace(":", "=").partition("=")[0].split()
        return {fold(w): MENTIONED for w in words(statement.text)} | {fold(w): 1.0 for w in head[-1:]}
    found = {fold(word): MENTIONED for word in statement.tokens}
    shown = {fold(word) for word in statement.said.shows}
    local = 1.0 if module else max(MENTIONED, near)
    return found | {fold(word): 1.0 if fold(word) in shown else local for word in statement.said.binds}
