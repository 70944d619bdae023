"""What went wrong in a run according to its telemetry: error spans and exceptions, as a set to compare by.

Reads OTLP/JSON lines as a run left them; hostile input: bounded, and lines that are no JSON are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MAXIMUM_BYTES = 64 * 1024 * 1024
ErrorKey = tuple[str, str, str, str]
"""Service, span name (or `log`), status, exception type."""


def errors_seen(folder: Path) -> set[ErrorKey]:
    """Errors of a bundle folder: spans with status ERROR or an exception, and logs with one."""
    found: set[ErrorKey] = set()
    for document in _documents(folder / "spans.otlp.jsonl"):
        found |= set(_spans(document))
    for document in _documents(folder / "logs.otlp.jsonl"):
        found |= set(_logs(document))
    return found


def _documents(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_symlink() or not path.is_file():
        return
    with path.open("rb") as file:
        content = file.read(MAXIMUM_BYTES)
    for line in content.split(b"\n"):
        try:
            document = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(document, dict):
            yield document


def _groups(document: dict[str, Any], outer: str, inner: str, leaf: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for group in _list(document, outer):
        service = _attributes(group.get("resource")).get("service.name", "")
        for scope in _list(group, inner):
            yield from ((service, item) for item in _list(scope, leaf))


def _spans(document: dict[str, Any]) -> Iterator[ErrorKey]:
    for service, span in _groups(document, "resourceSpans", "scopeSpans", "spans"):
        code = (span.get("status") or {}).get("code") if isinstance(span.get("status"), dict) else None
        status = "ERROR" if code in {2, "STATUS_CODE_ERROR"} else "UNSET"
        own = _attributes(span)
        events = [_attributes(event) for event in _list(span, "events")]
        types = [event["exception.type"] for event in events if "exception.type" in event]
        if own.get("butfor.unfinished") == "true":
            status = "UNFINISHED"
        elif status == "UNSET" and own.get("butfor.ended") == "timeout":
            status = "CLIENT_LEFT"
        if status != "UNSET" or types:
            for kind in types or [own.get("error.type", "")]:
                yield service, str(span.get("name", "")), status, kind


def _logs(document: dict[str, Any]) -> Iterator[ErrorKey]:
    for service, record in _groups(document, "resourceLogs", "scopeLogs", "logRecords"):
        kind = _attributes(record).get("exception.type")
        if kind:
            yield service, "log", "ERROR", kind


def _list(value: Any, key: str) -> list[dict[str, Any]]:
    items = value.get(key) if isinstance(value, dict) else None
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _attributes(value: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in _list(value, "attributes"):
        held = item.get("value")
        if isinstance(held, dict) and held:
            found[str(item.get("key", ""))] = _text(next(iter(held.values())))
    return found


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def words(keys: set[ErrorKey], limit: int = 5) -> str:
    """A few of them for people."""
    shown = [f"{service} {name}: {kind or status}" for service, name, status, kind in sorted(keys)[:limit]]
    return "; ".join(shown) + ("; ..." if len(keys) > limit else "")
