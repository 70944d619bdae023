"""The files that a process writes: one whole JSON line per system call, so that a kill loses the last at most."""

from __future__ import annotations

import os
from typing import Any, Callable

from butfor_inject import publishing
from butfor_inject.contexts import copied
from butfor_inject.settings import Settings
from butfor_inject.texts import attributes, members, text


def _aside(write: Callable[..., Any]) -> Callable[..., Any]:
    """What recording itself asks of the kernel belongs to no request."""

    def method(self: Spool, *arguments: Any, **named: Any) -> Any:
        before = publishing.aside()
        try:
            return write(self, *arguments, **named)
        finally:
            publishing.restore(before)

    return copied(method, write)  # type: ignore[no-any-return]


class Spool:
    """The process's files in the spool folder; a forked child opens files of its own."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.bodies = os.path.join(settings.spool, "bodies")
        self._known: set[str] = set()
        self.reset()
        os.makedirs(self.bodies, mode=0o700, exist_ok=True)

    def reset(self) -> None:
        """Forget the open files: called in a forked child, whose lines must not mix with its parent's."""
        self.pid = os.getpid()
        self.token = os.urandom(4).hex()
        self._files: dict[str, int] = {}
        self.resource = _resource(self.settings, self.pid)

    def _path(self, kind: str, suffix: str) -> str:
        return os.path.join(self.settings.spool, f"{kind}-{self.pid}-{self.token}.{suffix}")

    @_aside
    def open(self, kind: str, suffix: str) -> int:
        """A file of this process, to append to."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
        return os.open(self._path(kind, suffix), flags, 0o600)

    @_aside
    def _line(self, kind: str, line: str) -> None:
        descriptor = self._files.get(kind)
        if descriptor is None:
            descriptor = self._files.setdefault(kind, self.open(kind, "jsonl"))
        data = line.encode("utf-8", "backslashreplace") + b"\n"
        while data:
            data = data[os.write(descriptor, data) :]

    def span(self, span: dict[str, Any], *, kind: str = "spans") -> None:
        """Append a finished span; `open`: one that is not; `ended`: one that another tracer writes, if it can."""
        self.spans([members(span)], kind=kind)

    def spans(self, spans: list[str], *, kind: str = "spans") -> None:
        """Append spans that are JSON already, on one line."""
        body = f'[{{"scope":{{"name":"butfor.inject"}},"spans":[{",".join(spans)}]}}]'
        line = f'{{"resourceSpans":[{{"resource":{self.resource},"scopeSpans":{body}}}]}}'
        self._line(kind, line)

    def log(self, scope: str, record: dict[str, Any]) -> None:
        """Append a log record."""
        body = f'[{{"scope":{{"name":{text(scope)}}},"logRecords":[{members(record)}]}}]'
        self._line("logs", f'{{"resourceLogs":[{{"resource":{self.resource},"scopeLogs":{body}}}]}}')

    def payload(self, payload: dict[str, Any]) -> None:
        """Append a message pair (the keys of butfor.evidence.requests.Payload)."""
        self._line("payloads", members(payload))

    @_aside
    def replace(self, kind: str, content: dict[str, Any]) -> None:
        """Write `<kind>-*.json` anew, atomically."""
        temporary = self._path(kind, "tmp")
        with open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file:
            os.fchmod(file.fileno(), 0o644)  # read by whoever started us, whatever umask the service chose
            file.write(members(content))
        os.replace(temporary, self._path(kind, "json"))

    def temporary(self) -> str:
        """A path for a body that is still being received."""
        return os.path.join(self.bodies, f".{self.pid}-{os.urandom(6).hex()}.tmp")

    @_aside
    def keep(self, digest: str, *, data: bytes | None = None, path: str | None = None) -> None:
        """Store a body under its digest: from memory, or by renaming the file at `path`."""
        target = os.path.join(self.bodies, digest)
        if digest in self._known or os.path.exists(target):
            if path is not None:
                os.unlink(path)
        else:
            if path is None:
                path = self.temporary()
                with open(path, "wb") as file:
                    file.write(data or b"")
            _keep(path, target)
        if len(self._known) < 10_000:
            self._known.add(digest)


def _keep(path: str, target: str) -> None:
    """Rename; where a recorder of another user has just stored the same body, its file stays."""
    try:
        os.replace(path, target)
    except PermissionError:
        os.unlink(path)
        if not os.path.exists(target):
            raise


def _resource(settings: Settings, pid: int) -> str:
    values = {
        "service.name": settings.service,
        "process.pid": pid,
        "process.runtime.name": "cpython",
        "vcs.ref.head.revision": settings.revision or None,
        "telemetry.sdk.language": "python",
        "telemetry.sdk.name": "butfor",
    }
    return members({"attributes": attributes(values)})
