"""Reading a spool: what injected processes and edges wrote, some of it cut off, some of it hostile.

Code under test can write anything here. Links and special files are not followed, lines, files and totals are
bounded, what does not parse is a counted loss, and no exception leaves for bad content.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import ValidationError

from butfor.capturing.losses import Losses
from butfor.evidence.requests import Payload

Document = dict[str, Any]
_SIGNALS = (("resourceSpans", "scopeSpans", "spans"), ("resourceLogs", "scopeLogs", "logRecords"))
DIGEST = re.compile(r"^[0-9a-f]{64}$")


@dataclass(frozen=True)
class Limits:
    """Of what is read: bytes of one line, of one kind of file together, of one body; number of files."""

    line_bytes: int = 64 * 2**20
    kind_bytes: int = 2 * 2**30
    body_bytes: int = 256 * 2**20
    files: int = 10_000


class Spool:
    """A spool folder, read once at the end of a capture, without what belongs to the traces `left_out`."""

    def __init__(
        self, folder: Path, losses: Losses, limits: Limits | None = None, left_out: frozenset[str] = frozenset()
    ) -> None:
        self.folder, self.losses, self.left_out = folder, losses, left_out
        self.limits = limits or Limits()

    def documents(self, kind: str, root: str) -> Iterator[Document]:
        """OTLP/JSON documents of `<kind>-*.jsonl` that hold a list under `root`, in file and line order."""
        for name, line in self._lines(kind):
            found = self._parse(name, line)
            if found is not None and isinstance(found.get(root), list):
                if without(found, self.left_out):
                    yield found
            elif found is not None:
                self.losses.add(name, f"a line without {root}")

    def payloads(self) -> list[Payload]:
        """The last record of each span and role, in time order."""
        found: dict[tuple[str, str, str], Payload] = {}
        for name, line in self._lines("payloads"):
            value = self._parse(name, line)
            if value is None:
                continue
            try:
                payload = Payload.model_validate(value)
            except ValidationError as error:
                self.losses.add(name, f"not a payload: {error.errors()[0]['msg']}")
                continue
            found[payload.trace_id, payload.span_id, payload.role] = payload
        kept = (p for p in found.values() if p.trace_id not in self.left_out)
        return sorted(kept, key=lambda p: (p.start_ns, p.trace_id, p.span_id, p.role))

    def facts(self, kind: str) -> list[Document]:
        """The objects of `<kind>-*.json`, e.g. `process`; in the order of their names."""
        found = []
        for path in self._paths(kind, ".json"):
            data = self._read(path, self.limits.line_bytes)
            value = None if data is None else self._parse(path.name, data)
            if value is not None:
                found.append(value)
        return found

    def texts(self, kind: str, limit: int) -> Iterator[tuple[str, int, bytes]]:
        """Name, time of the last change (Unix nanoseconds) and first bytes of each `<kind>-*.txt` that is not empty."""
        for path in self._paths(kind, ".txt"):
            file = self._open(path)
            if file is None:
                continue
            with file:
                if data := file.read(limit):
                    yield path.name, os.fstat(file.fileno()).st_mtime_ns, data

    def body(self, digest: str | None) -> bytes | None:
        """A body by its hash; None, and a loss, where it is missing, too large, or not what its name says."""
        if digest is None:
            return None
        if not DIGEST.match(digest):
            self.losses.add("bodies", "a body's name is not a hash")
            return None
        data = self._read(self.folder / "bodies" / digest, self.limits.body_bytes)
        if data is not None and hashlib.sha256(data).hexdigest() != digest:
            self.losses.add("bodies", "a body is not what its name says")
            return None
        return data

    def _paths(self, kind: str, ending: str) -> list[Path]:
        pattern = re.compile(rf"^{kind}-[0-9A-Za-z-]{{1,80}}{re.escape(ending)}$")
        try:
            names = sorted(e.name for e in os.scandir(self.folder) if pattern.match(e.name))
        except OSError as error:
            self.losses.add(self.folder.name, f"the spool cannot be read: {error.strerror}")
            return []
        if len(names) > self.limits.files:
            self.losses.add(f"{kind}-*", "more files than are read", len(names) - self.limits.files)
        return [self.folder / name for name in names[: self.limits.files]]

    def _open(self, path: Path) -> BinaryIO | None:
        """A regular file of the spool itself: no link, pipe or device."""
        try:
            number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            self.losses.add(path.parent.name if DIGEST.match(path.name) else path.name, f"unreadable: {error.strerror}")
            return None
        if not stat.S_ISREG(os.fstat(number).st_mode):
            os.close(number)
            self.losses.add(path.name, "not a regular file")
            return None
        return os.fdopen(number, "rb")

    def _read(self, path: Path, limit: int) -> bytes | None:
        file = self._open(path)
        if file is None:
            return None
        with file:
            data = file.read(limit + 1)
        if len(data) > limit:
            self.losses.add(path.parent.name, f"larger than {limit} bytes")
            return None
        return data

    def _lines(self, kind: str) -> Iterator[tuple[str, bytes]]:
        room = self.limits.kind_bytes
        for path in self._paths(kind, ".jsonl"):
            file = self._open(path)
            if file is None:
                continue
            with file:
                while line := file.readline(self.limits.line_bytes + 1):
                    room -= len(line)
                    if room < 0:
                        self.losses.add(f"{kind}-*", f"more than {self.limits.kind_bytes} bytes")
                        return
                    if len(line) > self.limits.line_bytes and not line.endswith(b"\n"):
                        room -= self._skip(path.name, file, room)
                    elif line.strip():
                        yield path.name, line

    def _skip(self, name: str, file: BinaryIO, room: int) -> int:
        """Go to the end of a line that is too long; returns how many bytes that took."""
        self.losses.add(name, f"a line over {self.limits.line_bytes} bytes")
        skipped = 0
        while skipped <= room and (rest := file.readline(2**20)):
            skipped += len(rest)
            if rest.endswith(b"\n"):
                break
        return skipped

    def _parse(self, name: str, line: bytes) -> Document | None:
        try:
            value = json.loads(line, parse_constant=_refuse)
        except (ValueError, RecursionError):
            reason = "a malformed line" if line.endswith(b"\n") else "the last line is cut off"
            self.losses.add(name, reason)
            return None
        if not isinstance(value, dict):
            self.losses.add(name, "a line that is no object")
            return None
        return value


def _refuse(constant: str) -> None:
    msg = f"{constant} is not JSON"
    raise ValueError(msg)


def spans_of(document: Document) -> Iterator[tuple[Document, Document]]:
    """Each (resource, span) of a document; members that are not objects are left out."""
    for resource_spans in _objects(document.get("resourceSpans")):
        resource = resource_spans.get("resource")
        for scope_spans in _objects(resource_spans.get("scopeSpans")):
            for span in _objects(scope_spans.get("spans")):
                yield resource if isinstance(resource, dict) else {}, span


def without(document: Document, traces: frozenset[str]) -> bool:
    """Take spans and log records of these traces out of a document; whether anything is left."""
    if not traces:
        return True
    left = False
    for resources, scopes, records in _SIGNALS:
        for resource in _objects(document.get(resources)):
            for scope in _objects(resource.get(scopes)):
                scope[records] = [r for r in _objects(scope.get(records)) if r.get("traceId") not in traces]
                left = left or bool(scope[records])
    return left or "resourceMetrics" in document


def attributes_of(holder: Document) -> dict[str, str]:
    """The attributes with plain values, as text."""
    found = {}
    for attribute in _objects(holder.get("attributes")):
        value = attribute.get("value")
        if isinstance(value, dict) and len(value) == 1:
            (plain,) = value.values()
            if isinstance(plain, str | int | float | bool):
                found[str(attribute.get("key"))] = str(plain)
    return found


def _objects(value: Any) -> list[Document]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
