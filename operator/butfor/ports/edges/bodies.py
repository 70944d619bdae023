"""Bodies of HTTP/1 messages in a byte stream: where they end, and what of them is kept."""

from __future__ import annotations

from .heads import HEAD_LIMIT, Headers, field


class Recording:
    """The content of one body: all of it is counted, the first `limit` bytes are kept."""

    def __init__(self, limit: int) -> None:
        self.limit, self.size, self.kept = limit, 0, 0
        self.parts: list[bytes] = []

    def add(self, part: bytes) -> None:
        """Take the next bytes of content."""
        room = self.limit - self.kept
        if room > 0 and part:
            self.parts.append(part[:room])
            self.kept += min(room, len(part))
        self.size += len(part)


class Body:
    """Follows a body's framing in a byte stream: which bytes are content, and where it ends.

    `kind` is `length`, `chunked` or `close`; `finished` is never true for `close`.
    """

    def __init__(self, kind: str, length: int, recording: Recording) -> None:
        self.kind, self.left, self.recording = kind, length, recording
        self.finished = kind == "length" and length == 0
        self.broken = False
        self._state, self._line = "size", b""

    def feed(self, data: bytes, start: int) -> int:
        """Consume from `start`; returns the first position that is not this body's."""
        while start < len(data) and not self.finished:
            if self.kind == "close":
                self.recording.add(data[start:])
                return len(data)
            if self.kind == "length" or self._state == "data":
                start = self._content(data, start)
            else:
                start = self._chunk_line(data, start)
        return start

    def _content(self, data: bytes, start: int) -> int:
        part = data[start : start + self.left]
        self.recording.add(part)
        self.left -= len(part)
        if self.left == 0:
            self.finished = self.kind == "length"
            self._state = "gap"
        return start + len(part)

    def _chunk_line(self, data: bytes, start: int) -> int:
        end = data.find(b"\n", start)
        self._line += data[start:] if end < 0 else data[start:end]
        if end < 0:
            self.broken = self.broken or len(self._line) > HEAD_LIMIT
            return len(data)
        line, self._line = self._line.strip(), b""
        if self._state == "gap":
            self._state = "size"
        elif self._state == "trailer":
            self.finished = not line
        else:
            self._chunk_size(line)
        return end + 1

    def _chunk_size(self, line: bytes) -> None:
        try:
            self.left = int(line.split(b";")[0], 16)
        except ValueError:
            self.broken, self.kind = True, "close"
            return
        self._state = "data" if self.left else "trailer"


def framing(headers: Headers, otherwise: str, recording: Recording) -> Body:
    """The framing that the headers announce; `otherwise` is `close` for answers and `length` for requests."""
    if "chunked" in field(headers, "transfer-encoding").lower():
        return Body("chunked", 0, recording)
    length = field(headers, "content-length")
    if length.isascii() and length.isdigit():
        return Body("length", int(length), recording)
    body = Body(otherwise, 0, recording)
    body.broken = bool(length) and otherwise == "length"
    return body
