"""What a play looks at once its requests are answered: whether all is written, and what the services loaded."""

from __future__ import annotations

import json
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

Ids = tuple[bytes, bytes]
_SETTLE_S = 0.3
_QUIET_S = 0.02
_LATE_S = 2.0
_EXPORTS_S = 1.3
_LAST_EXPORTS_S = 4.0
_MAXIMUM_TAIL = 8 << 20
_IDS = re.compile(rb'"traceId": ?"([0-9a-f]{32})", ?"spanId": ?"([0-9a-f]{16})"')


def settle(spool: str, answered: set[str]) -> None:
    """Wait until the recorders have written the end of the last requests.

    Every one of the `answered` traces has spans, all of them ended; or nothing grows for a moment and none is still
    open: a service may answer 500 first and let go of the exception afterwards, which on a busy machine is a while.
    """
    begin, last, since = time.monotonic(), -1, time.monotonic()
    if answered and all_ended(spool, answered):
        return
    while time.monotonic() - begin < _LATE_S:
        with os.scandir(spool) as entries:
            size = sum(entry.stat().st_size for entry in entries if entry.is_file(follow_symlinks=False))
        if size != last:
            last, since = size, time.monotonic()
        quiet = time.monotonic() - since >= _QUIET_S or time.monotonic() - begin >= _SETTLE_S
        if quiet and not still_open(spool, answered):
            return
        time.sleep(0.005)


def await_exports(spool: str) -> None:
    """Wait until SDKs have sent what they hold: nothing came for longer than they wait between two exports."""
    begin, last, since = time.monotonic(), -1, time.monotonic()
    while time.monotonic() - begin < _LAST_EXPORTS_S:
        size = sum(path.stat().st_size for path in Path(spool).glob("otlp-*.frames"))
        if size != last:
            last, since = size, time.monotonic()
        if time.monotonic() - since >= _EXPORTS_S:
            return
        time.sleep(0.02)


def still_open(spool: str, traces: set[str]) -> bool:
    """Whether a server span of these traces was begun whose end is not written yet."""
    begun, ended = _spans(spool)
    return any(trace.decode() in traces for trace, _ in begun - ended)


def all_ended(spool: str, traces: set[str]) -> bool:
    """Whether each of these traces has server spans, and all of them have ended."""
    begun, ended = _spans(spool)
    return traces <= {trace.decode() for trace, _ in begun} and not any(t.decode() in traces for t, _ in begun - ended)


def _spans(spool: str) -> tuple[set[Ids], set[Ids]]:
    """The (trace, span) ids that were begun, and those that have ended."""
    folder = Path(spool)
    ended = set(_IDS.findall(_read([*folder.glob("spans-*"), *folder.glob("ended-*")])))
    return set(_IDS.findall(_read(folder.glob("open-*")))), ended


def _read(paths: Iterable[Path]) -> bytes:
    """The ends of files that recorders wrote for themselves alone, read as their user; what cannot be read is empty."""
    with _as_foreign():
        return b"\n".join(_end(path) for path in paths)


def _end(path: Path) -> bytes:
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    with os.fdopen(number, "rb") as file:
        state = os.fstat(number)
        if not stat.S_ISREG(state.st_mode):
            return b""
        file.seek(max(state.st_size - _MAXIMUM_TAIL, 0))
        return file.read(_MAXIMUM_TAIL)


def loaded_files(spool: str, service: str, worktree: str) -> list[str]:
    """Files of modules that the service's processes loaded, with the worktree's place written `<worktree>`."""
    found: set[str] = set()
    for path in sorted(Path(spool).glob("modules-*.json"))[:256]:
        try:
            entry = json.loads(path.read_text())
        except (OSError, ValueError):
            continue  # a process that was killed while it wrote
        if isinstance(entry, dict) and entry.get("service") == service:
            found.update(str(f) for f in entry.get("files") or [])
    return sorted("<worktree>" + f[len(worktree) :] if f.startswith(worktree + "/") else f for f in found)


@contextmanager
def _as_foreign() -> Iterator[None]:
    """Read what foreign code wrote for itself alone, with no more rights than it has."""
    own, user = os.geteuid(), os.environ.get("SANDBOX_USER")
    if not user:
        yield
        return
    os.seteuid(int(user))
    try:
        yield
    finally:
        os.seteuid(own)
