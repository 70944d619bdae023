"""Database statements of a request: a client span each, noted cheaply and written when the request ends.

Parameters are never looked at. The text of a statement is kept as the service wrote it; where it came to the driver
as bytes, without the strings in it.
"""

from __future__ import annotations

import os
import re
import time
from typing import Any

from butfor_inject import failures, publishing, tracers
from butfor_inject.boundaries import note
from butfor_inject.contexts import current
from butfor_inject.exchanges import Exchange
from butfor_inject.spools import Spool
from butfor_inject.texts import attributes, text

KEPT = 1_000
"""Spans of one request; further statements are only counted."""
TEXT_LIMIT = 8_192
_FORMS_KEPT = 2_000
_CLIENT, _ERROR = 3, 2
_TARGET = re.compile(
    r"\b(?:from|into|update|table)\s+(?:if\s+(?:not\s+)?exists\s+|only\s+)?[\"'`\[]?([\w.]+)", re.IGNORECASE
)
_LITERAL = re.compile(r"'(?:[^'\\]|''|\\.)*(?:'|$)", re.DOTALL)
_LEADING = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/)*", re.DOTALL)

_forms: dict[tuple[str, str], str] = {}
"""Per system and text of a statement what its spans share, as JSON: services repeat themselves."""


class Statement:
    """One statement under way, or done once `end_ns` is set. `rows`: read so far; `affected`: changed.

    `with statement:` shows its span to readers in the kernel while the driver works.
    """

    batch: int | None = None
    rows: int | None = None
    affected: int | None = None
    error: tuple[str, str] | None = None
    written = False
    end_ns = 0

    def __init__(self, system: str, words: str, ids: tuple[str, str], parent: tuple[str, str] | None) -> None:
        self.system, self.text, self.ids, self.parent = system, words, ids, parent
        self.start_ns = time.time_ns()

    def __enter__(self) -> None:
        self._before = publishing.show(self.ids)

    def __exit__(self, *_error: object) -> None:
        publishing.restore(self._before)


class Statements:
    """What one request asked of databases. `inside`: cursors in a call of theirs, which may call another of theirs."""

    __slots__ = ("base", "entries", "inside", "more")

    def __init__(self) -> None:
        self.base = int.from_bytes(os.urandom(8), "big")
        self.entries: list[Statement] = []
        self.inside: set[int] = set()
        self.more = 0

    def write(self, exchange: Exchange, spool: Spool) -> None:
        """Write what was not yet written; what is under way is written as open."""
        waiting = [entry for entry in self.entries if not entry.written]
        open_ones = [entry for entry in waiting if not entry.end_ns]
        done = [entry for entry in waiting if entry.end_ns]
        for entry in done:
            entry.written = True
        above = exchange.ids
        for entries, kind in ((done, "spans"), (open_ones, "open")):
            if entries:
                spool.spans([_span(entry, above) for entry in entries], kind=kind)

    def add(self, system: str, words: str, above: tuple[str, str]) -> Statement:
        """One more, with a span id of its own. `above`: the ids of the request."""
        parent = tracers.ids_now()
        number = (self.base + len(self.entries)) & (1 << 64) - 1 or 1
        entry = Statement(system, words, ((parent or above)[0], f"{number:016x}"), parent)
        self.entries.append(entry)
        return entry


def begin(system: str, words: Any, cursor: Any = None) -> Statement | None:
    """Note that a statement starts; None outside of a request, beyond `KEPT`, or where another tracer notes it.

    `cursor`: whose driver can say how a composed statement reads.
    """
    exchange = current.get()
    if exchange is None or exchange.finished:
        return None
    try:
        return _begin(exchange, system, words if type(words) is str else _rendered(words, cursor))
    except Exception as error:  # noqa: BLE001 - the service must not see failures of ours
        note("statement", error)
        return None


def _begin(exchange: Exchange, system: str, words: str) -> Statement | None:
    noted = exchange.statements
    if noted is None:
        noted = exchange.statements = Statements()
    if len(noted.entries) >= KEPT:
        noted.more += 1
        return None
    if exchange.foreign is not None and tracers.notes_statement(exchange):
        return None
    return noted.add(system, words, exchange.ids)


def _rendered(words: Any, cursor: Any) -> str:
    if isinstance(words, (bytes, bytearray)):
        # a driver's helpers put values into text, and what they then execute is bytes
        return _LITERAL.sub("'?'", bytes(words[:TEXT_LIMIT]).decode("utf-8", "replace"))
    if isinstance(words, str):
        return str.__str__(words)
    compose = getattr(words, "as_string", None)
    return str(compose(cursor)) if compose is not None else f"<{type(words).__name__}>"


def failed(entry: Statement, error: BaseException) -> None:
    """The statement, or reading its rows, raised."""
    entry.end_ns = time.time_ns()
    entry.error = failures.type_name(type(error)), failures.message(error)


def _span(entry: Statement, above: tuple[str, str]) -> str:
    trace_id, parent_id = entry.parent or above
    end = f'"endTimeUnixNano":"{entry.end_ns}",' if entry.end_ns else ""
    return (
        f'{{"traceId":"{trace_id}","spanId":"{entry.ids[1]}",'
        f'"parentSpanId":"{parent_id}","startTimeUnixNano":"{entry.start_ns}",{end}'
        f"{_form(entry.system, entry.text)}{_facts(entry)}]{_failure(entry)}}}"
    )


def _facts(entry: Statement) -> str:
    """Attributes of this one statement, to be written after those of its form."""
    facts = ""
    if entry.rows is not None:
        facts = f',{{"key":"db.response.returned_rows","value":{{"intValue":"{entry.rows}"}}}}'
    if entry.affected is not None:
        facts += f',{{"key":"butfor.affected_rows","value":{{"intValue":"{entry.affected}"}}}}'
    if entry.batch is not None:
        facts += f',{{"key":"db.operation.batch.size","value":{{"intValue":"{entry.batch}"}}}}'
    if entry.error is not None:
        facts += f',{{"key":"error.type","value":{{"stringValue":{text(entry.error[0])}}}}}'
    return facts


def _failure(entry: Statement) -> str:
    """The status of a statement that failed; the exception itself is told where the request meets it."""
    return "" if entry.error is None else f',"status":{{"code":{_ERROR},"message":{text(entry.error[1][:1000])}}}'


def _form(system: str, words: str) -> str:
    """The members that all spans of this statement share; the name is as in `SELECT article`."""
    found = _forms.get((system, words))
    if found is None:
        kept = words[:TEXT_LIMIT]
        start = _LEADING.match(kept)
        body = kept[start.end() if start else 0 :]
        verb = body[:40].split(None, 1)[0].upper() if body.strip() else ""
        target = _TARGET.search(body)
        values = {"db.system.name": system, "db.query.text": kept, "db.operation.name": verb or None}
        name = text(f"{verb} {target.group(1)}" if target else verb or system)
        found = f'"name":{name},"kind":{_CLIENT},"attributes":{attributes(values)[:-1]}'
        if len(_forms) < _FORMS_KEPT:
            _forms[system, words] = found
    return found
