"""A body while it streams by: counted, hashed, kept up to the limit, never held back."""

from __future__ import annotations

import os
from typing import Any

from butfor_inject.spools import Spool

IN_MEMORY = 1 << 20
"""Bytes of a body that are kept in memory; more goes to a file at once."""


class Body:
    """One direction of an exchange. `size` counts all bytes; `truncated` says that not all of them were kept."""

    __slots__ = ("_chunks", "_digest", "_file", "_held", "_path", "_spool", "size", "truncated")

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._chunks: list[bytes] = []
        self._held = 0
        self._digest: Any = None
        self._file: Any = None
        self._path: str | None = None
        self.size = 0
        self.truncated = False

    def add(self, data: Any) -> None:
        """Take the next piece (bytes-like)."""
        piece = data if type(data) is bytes else bytes(data)
        self.size += len(piece)
        room = self._spool.settings.payload_limit - self._held
        if len(piece) > room:
            self.truncated = True
            piece = piece[: max(room, 0)]
        if not piece:
            return
        self._held += len(piece)
        if self._file is not None:
            self._file.write(piece)
            self._digest.update(piece)
            return
        self._chunks.append(piece)
        if self._held > IN_MEMORY:
            self._spill()

    def _spill(self) -> None:
        from hashlib import sha256  # late: only bodies need it, and services start faster without

        self._path = self._spool.temporary()
        self._file = open(self._path, "wb")  # noqa: SIM115 - open until the body ends
        whole = b"".join(self._chunks)
        self._chunks.clear()
        self._file.write(whole)
        self._digest = sha256(whole)

    def close(self) -> str | None:
        """Store what was kept and return its sha256 in hex, or None when there was nothing."""
        if not self._held:
            return None
        if self._file is not None:
            self._file.close()
            name = str(self._digest.hexdigest())
            self._spool.keep(name, path=self._path)
        else:
            from hashlib import sha256

            data = b"".join(self._chunks)
            name = sha256(data).hexdigest()
            self._spool.keep(name, data=data)
        self._held, self._file = 0, None
        self._chunks.clear()
        return name

    def add_file(self, file: Any, offset: int | None, count: int | None) -> None:
        """Take a part of an open file that the server sends by itself, without moving the file's position."""
        number = file.fileno()
        place = file.tell() if offset is None else offset
        left = os.fstat(number).st_size - place if count is None else count
        while left > 0:
            piece = os.pread(number, min(left, IN_MEMORY), place)
            if not piece:
                return
            self.add(piece)
            place, left = place + len(piece), left - len(piece)
