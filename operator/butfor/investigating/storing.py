"""The store at both ends: telemetry that users already have is investigated in place; what a bundle held is kept.

A kept store lies in the cache, not in the verdict's folder, which is made to be shared while telemetry is not.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import time
from pathlib import Path

from butfor.errors import ButforError, UserError
from butfor.evidence.telemetry import Telemetry
from butfor.ports.caches import cache_root

MINUTE_NS = 60 * 10**9
AROUND_TRACE_NS = 30 * MINUTE_NS
LAST_NS = 60 * MINUTE_NS
MAXIMUM_ROWS = 1_000_000
KEPT_DAYS = 7


def from_store(dsn: str, trace: str | None = None, minutes: float | None = None) -> Telemetry:
    """Spans and logs of a store: half an hour around a trace, else the last hour (or `minutes`) that it has.

    Raises UserError where the store cannot be opened, is empty, or lacks the trace.
    """
    # the engine takes a second to load, and most investigations do without
    from butfor.ports.stores import open_store  # noqa: PLC0415

    with open_store(dsn) as store:
        span = store.span_of(trace)
        if span is None:
            what = f"no trace {trace}" if trace else "no span"
            raise UserError(f"the store has {what}; name the database that the Collector writes to, or another trace")
        first, last = span
        around = int(minutes * MINUTE_NS) if minutes else AROUND_TRACE_NS if trace else LAST_NS
        start = first - around if trace else max(first, last - around)
        return store.telemetry(start, last + (around if trace else 0) + 1, limit=MAXIMUM_ROWS)


def kept_dsn(out: Path) -> str:
    """Where the telemetry of the investigation with this folder is kept."""
    return f"chdb://{_stores() / hashlib.sha256(str(out.resolve()).encode()).hexdigest()[:16]}"


def keep(telemetry: Telemetry, dsn: str) -> str:
    """Load the telemetry into a store; the reason why it could not be, else an empty text."""
    from butfor.ports.stores import open_store  # noqa: PLC0415

    _remove_old()
    try:
        with open_store(dsn, ttl_days=KEPT_DAYS) as store:
            store.load(telemetry)
    except ButforError as error:
        return str(error)
    return ""


def without_secret(dsn: str) -> str:
    """The DSN without user and password, to be shown."""
    return re.sub(r"//[^/@]*@", "//***@", dsn)


def _stores() -> Path:
    folder = cache_root() / "stores"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder


def _remove_old() -> None:
    due = time.time() - KEPT_DAYS * 86_400
    for old in _stores().iterdir():
        if old.is_dir() and old.stat().st_mtime < due:
            shutil.rmtree(old, ignore_errors=True)
