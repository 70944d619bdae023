"""Reading file contents of a history through two git processes that live as long as the reader, and a bounded memory.

One `git cat-file` per question costs more than the question: a ranking asks for hundreds of texts.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable

from git import Git

MAXIMUM_BLOB = 16 * 1024 * 1024
MAXIMUM_KEPT = 128 * 1024 * 1024
"""Bytes of contents that are remembered; the least recently asked for go first."""
_OVERHEAD = 200
_BLOB: tuple[object, ...] = (b"blob", "blob")
"""GitPython declares text and gives bytes."""


class Blobs:
    """Contents by object name (`REVISION:PATH`). `alone(name)` reads one that the line protocol cannot ask for."""

    def __init__(self, git: Git, alone: Callable[[str], bytes | None]) -> None:
        self._git, self._alone = git, alone
        self._kept: OrderedDict[str, bytes | None] = OrderedDict()
        self._size = 0
        weakref.finalize(self, git.clear_cache)

    def read(self, name: str) -> bytes | None:
        """A blob's bytes; None where there is none, or it is no blob, or it is larger than `MAXIMUM_BLOB`."""
        if name in self._kept:
            self._kept.move_to_end(name)
            return self._kept[name]
        content = self._ask(name) if _is_plain(name) else self._alone(name)
        self._keep(name, content)
        return content

    def close(self) -> None:
        """End the processes; they also end with the last reference to this."""
        self._git.clear_cache()

    def _ask(self, name: str) -> bytes | None:
        try:
            sha, kind, size = self._git.get_object_header(name)
        except ValueError:
            # missing, ambiguous, or an answer in a form that is not known: one process of its own settles it
            return self._alone(name)
        if kind not in _BLOB or size > MAXIMUM_BLOB:
            return None
        return bytes(self._git.get_object_data(sha)[3])

    def _keep(self, name: str, content: bytes | None) -> None:
        self._kept[name] = content
        self._size += _OVERHEAD + len(content or b"")
        while self._size > MAXIMUM_KEPT:
            self._size -= _OVERHEAD + len(self._kept.popitem(last=False)[1] or b"")


def _is_plain(name: str) -> bool:
    """Whether a name can be asked for on one line: no line feeds, and text that encodes."""
    return "\n" not in name and "\r" not in name and name.isprintable()
