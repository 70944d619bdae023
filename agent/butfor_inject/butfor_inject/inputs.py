"""`wsgi.input`: what the application reads is noted on the way."""

from __future__ import annotations

from typing import Any, Iterator

from butfor_inject.boundaries import attempt
from butfor_inject.exchanges import Exchange


class _Input:
    """The server's input. Bytes that are read a second time, after a seek, are noted once."""

    def __init__(self, source: Any, exchange: Exchange) -> None:
        self._source = source
        self._body = exchange.request
        self._at = 0

    def _noted(self, data: Any) -> Any:
        if data:
            attempt("input", self._note, data)
        return data

    def _note(self, data: Any) -> None:
        seen = self._body.size - self._at
        self._at += len(data)
        if seen < len(data):
            self._body.add(data[seen:] if seen > 0 else data)

    def read(self, *arguments: Any) -> Any:
        """PEP 3333."""
        return self._noted(self._source.read(*arguments))

    def readline(self, *arguments: Any) -> Any:
        """PEP 3333."""
        return self._noted(self._source.readline(*arguments))

    def readlines(self, *arguments: Any) -> Any:
        """PEP 3333."""
        return [self._noted(line) for line in self._source.readlines(*arguments)]

    def __iter__(self) -> Iterator[Any]:
        for line in self._source:
            yield self._noted(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)


class _FileInput(_Input):
    """An input with a real file's methods."""

    def readinto(self, buffer: Any) -> Any:
        """As io.BufferedIOBase."""
        count = self._source.readinto(buffer)
        if count:
            self._noted(bytes(memoryview(buffer)[:count]))
        return count

    def read1(self, *arguments: Any) -> Any:
        """As io.BufferedIOBase."""
        return self._noted(self._source.read1(*arguments))

    def seek(self, *arguments: Any) -> Any:
        """As io.IOBase."""
        result = self._source.seek(*arguments)
        self._at = self._source.tell()
        return result


def watched(source: Any, exchange: Exchange) -> Any:
    """`source` with the same methods, under watch."""
    return (_FileInput if hasattr(source, "readinto") else _Input)(source, exchange)
