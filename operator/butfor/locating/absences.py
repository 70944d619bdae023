"""What an exception says is missing (a key, an attribute, a name, a file), and edits that took it away.

The line that raises asks for something by name; a commit that removed the definition of that very name, be it in code
or in a table that code reads, is near to the failure wherever it stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from butfor.locating.definitions import defines
from butfor.locating.flows import QUOTED
from butfor.locating.introductions import Placed
from butfor.locating.lexicons import Telling, ancestry, fold, parts
from butfor.locating.places import Scene
from butfor.locating.statements import Statement

TAKEN = 0.9
_ROOTS = frozenset({"LookupError", "AttributeError", "NameError", "ImportError", "FileNotFoundError"})
_WORDS = frozenset({"missing", "undefined", "unknown", "found", "exist", "such"})
"""In the names of classes that are not built in: `TemplateNotFound`, `UndefinedError`, `DoesNotExist`."""


@dataclass(frozen=True)
class Absence:
    """Something that is no longer there: how much that explains, 0..1, in words, and what cites it."""

    strength: float
    why: str
    evidence: tuple[str, ...] = ()


class Absences:
    """The names that the failure's exceptions miss; none where they are of another sort."""

    def __init__(self, scene: Scene, telling: Telling) -> None:
        asked = any(_misses(kind) for kind in scene.types)
        quoted = {word for message in scene.messages for word in QUOTED.findall(message)} if asked else set()
        self._words = {fold(word): (word, telling(word)) for word in sorted(quoted) if telling(word) > 0}
        self._evidence = next((stack.evidence for stack in scene.stacks), ())

    def taken(self, placed: list[Placed]) -> Iterator[tuple[Placed, Absence]]:
        """Edits of one commit that take a missing name's definition away, unless the commit defines it elsewhere."""
        if not self._words:
            return
        kept = _defined(s for one in placed for s in one.edit.added)
        for one in placed:
            for name in sorted((_defined(one.edit.gone) - kept) & self._words.keys()):
                word, telling = self._words[name]
                yield one, Absence(TAKEN * telling, f"took away {word!r}, which the exception misses", self._evidence)


def _defined(statements: Iterable[Statement]) -> set[str]:
    return {name for s in statements for name, strength in defines(s, True, 1.0).items() if strength == 1}


def _misses(kind: str) -> bool:
    name = kind.rsplit(".", 1)[-1]
    return bool(_ROOTS & set(ancestry(name))) or bool(_WORDS & set(parts(name)))
