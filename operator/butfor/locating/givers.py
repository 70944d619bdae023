"""Of the functions that one commit changed, those first that give values which the others only pass on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from butfor.locating.introductions import Placed
from butfor.locating.trees import Key


def givers_first(placed: Iterable[Placed], keys: Sequence[Key]) -> list[Key]:
    """`keys` in their order, but a function before those that read, in what was added to them, what was added to it.

    A value is given as an attribute, a keyword or a key, and read as an attribute of the same name. Where two give
    each other values their order stays.
    """
    given, read = _names(placed)
    behind = {key: [k for k in keys if k != key and given[k] & read[key] and not given[key] & read[k]] for key in keys}
    found: list[Key] = []
    for key in keys:
        _after(key, behind, found, ())
    return found


def _names(placed: Iterable[Placed]) -> tuple[dict[Key, set[str]], dict[Key, set[str]]]:
    given: dict[Key, set[str]] = defaultdict(set)
    read: dict[Key, set[str]] = defaultdict(set)
    for one in placed:
        for statement in one.edit.added:
            given[one.key] |= {f".{name}" for name in statement.said.shows}
            read[one.key] |= {name for name in statement.said.used if name.startswith(".")}
    return given, read


def _after(key: Key, behind: dict[Key, list[Key]], found: list[Key], waiting: tuple[Key, ...]) -> None:
    if key in found or key in waiting:
        return
    for giver in behind[key]:
        _after(giver, behind, found, (*waiting, key))
    found.append(key)
