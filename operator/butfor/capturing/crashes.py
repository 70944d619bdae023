"""Where Python was in a process that a signal ended: what its fault handler wrote, as a stack of the request it served.

A crash says its thread and not its request. It is told of the request that forked the process, else of the only one
that the process, or that thread of it, had not finished; where several could be meant, of none.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from butfor.capturing.spools import Document, Spool, attributes_of, spans_of
from butfor.evidence.telemetry import EVIDENCE

MOST_BYTES, MOST_FRAMES = 1 << 20, 200
_NAME = re.compile(r"^crash-(\d{1,10})-")
_WHY = re.compile(r"^Fatal Python error: (.{1,200})$", re.MULTILINE)
_THREAD = re.compile(r"^Current thread 0x([0-9a-f]{1,16}).*\(most recent call first\):\n((?:  .*\n)*)", re.MULTILINE)
_FRAME = re.compile(r'^  File "(.*)", line (\d{1,8}) in (.*)$', re.MULTILINE)
_ESCAPED = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")
_ID = re.compile(r"^[0-9a-f]{16,32}$")
_OURS = "/butfor_inject/"


@dataclass(frozen=True)
class Crash:
    """`frames`: file, line, function, outermost first. `thread`: its identity, as the span of its request says it."""

    pid: str
    time_ns: int
    why: str
    thread: str
    frames: tuple[tuple[str, int, str], ...]
    forked_by: tuple[str, str] | None = None


def crashes(spool: Spool) -> Iterator[Crash]:
    """Of all processes that left one."""
    for name, time_ns, data in spool.texts("crash", MOST_BYTES):
        text, pid = data.decode("ascii", "replace"), _NAME.match(name)
        if (found := _THREAD.search(text)) is not None and pid is not None:
            why = _WHY.search(text)
            frames = [(_path(f), int(line), function) for f, line, function in _FRAME.findall(found[2])]
            own = tuple(frame for frame in frames if _OURS not in frame[0])[:MOST_FRAMES][::-1]
            if own:
                said = why[1] if why else "a signal"
                yield Crash(pid[1], time_ns, said, str(int(found[1], 16)), own, _forked_by(text))


class Crashed:
    """The crashes of a spool, and whose they are as far as spans have been seen."""

    def __init__(self, spool: Spool) -> None:
        self._crashes = list(crashes(spool))
        self._spans: dict[tuple[str, str], Document] = {}
        self._wanted = {crash.forked_by for crash in self._crashes}

    def see(self, resource: Document, span: Document) -> None:
        """A span, with or without an end."""
        ids = (str(span.get("traceId")), str(span.get("spanId")))
        if ids in self._wanted:
            self._spans[ids] = resource

    def told(self, unfinished: Iterable[Document]) -> Iterator[Document]:
        """Beneath the spans of their requests, as OTLP; once all spans were seen."""
        if not self._crashes:
            return
        open_ones = [pair for document in unfinished for pair in spans_of(document)]
        for crash in self._crashes:
            if crash.forked_by is None:
                found = _serving(crash, open_ones)
                yield from (_document(resource, crash, *ids) for resource, ids in found)
            elif crash.forked_by in self._spans:
                yield _document(self._spans[crash.forked_by], crash, *crash.forked_by)


def _serving(crash: Crash, spans: list[tuple[Document, Document]]) -> list[tuple[Document, tuple[str, str]]]:
    """The one request that it can have happened in, or none."""
    mine = [(r, s) for r, s in spans if attributes_of(r).get("process.pid") == crash.pid]
    if len(mine) > 1:
        mine = [(r, s) for r, s in mine if attributes_of(s).get("thread.id") == crash.thread]
    return [(r, (str(s.get("traceId")), str(s.get("spanId")))) for r, s in mine] if len(mine) == 1 else []


def _document(resource: Document, crash: Crash, trace_id: str, span_id: str) -> Document:
    values = {"butfor.frames": json.dumps(crash.frames), "butfor.count": "1", "butfor.crash": crash.why}
    event = {"timeUnixNano": str(crash.time_ns), "name": "butfor.stack_sample", "attributes": _attributes(values)}
    own = hashlib.sha256(f"{span_id} {crash.pid} {crash.time_ns}".encode()).hexdigest()[:16]
    span: dict[str, Any] = {
        "traceId": trace_id, "spanId": own, "parentSpanId": span_id, "name": EVIDENCE, "kind": 1,
        "startTimeUnixNano": str(crash.time_ns), "endTimeUnixNano": str(crash.time_ns), "events": [event],
    }  # fmt: skip
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": [span]}]}]}


def _attributes(values: dict[str, str]) -> list[Document]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]


def _path(text: str) -> str:
    """Characters that are not ASCII were written as escapes."""
    return _ESCAPED.sub(lambda found: chr(min(int(found[1] or found[2] or found[3], 16), 0x10FFFF)), text)


def _forked_by(text: str) -> tuple[str, str] | None:
    try:
        said = json.loads(text.partition("\n")[0])
        ids = said["traceId"], said["spanId"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return ids if all(isinstance(one, str) and _ID.match(one) for one in ids) else None
