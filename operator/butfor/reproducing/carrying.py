"""From captured requests to planned ones: headers, bodies, give-up times, and values carried over.

A value that the service made up (a cookie, a token, an id) differs on each start. Where such a value of a
captured answer appears in a later request, the answer's value is saved and the later request uses the saved
name instead, so that the sequence works against a fresh service. Carried are values that the answer to a write
gave, and values that look random; names that merely occur in a listing stay as they were captured.
"""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from butfor.evidence.plays import PlannedRequest
from butfor.evidence.requests import Payload
from butfor.evidence.runs import Role
from butfor.evidence.telemetry import Telemetry
from butfor.reproducing.selections import SAFE, Captured

HOP_BY_HOP = frozenset({
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
    "transfer-encoding", "upgrade", "host", "content-length", "expect", "traceparent", "tracestate", "baggage",
})  # fmt: skip
"""Headers that belong to the captured connection or trace, not to the request."""
LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.IGNORECASE)
SHORTEST_TIMEOUT_S, SLACK = 10.0, 10.0
TEXT_LIMIT = 1024 * 1024
VALUES_LIMIT = 300
_VALUE = re.compile(r"[A-Za-z0-9_\-.~+/=]{8,256}")


@dataclass(frozen=True)
class Step:
    """A captured request in its role."""

    role: Role
    captured: Captured


def plan_requests(steps: Sequence[Step], telemetry: Telemetry, bodies: Path) -> list[PlannedRequest]:
    """Return the steps as planned requests, in order. Their bodies are copied to `bodies`, some rewritten."""
    payloads = telemetry.bundle.path / "payloads"
    planned = [_planned(step, payloads, bodies) for step in steps]
    planned = _with_cookies(planned, [step.captured.payload for step in steps])
    return _with_values(planned, [step.captured.payload for step in steps], payloads, bodies)


def shown(payloads: Path, name: str | None, bodies: Path) -> Path | None:
    """Copy a captured body to `bodies`, where the sandbox's user may read it: captures are the owner's alone."""
    source = payloads / name if name and re.fullmatch(r"[0-9a-f]{64}", name) else None
    if source is None or not source.is_file():
        return None
    bodies.mkdir(parents=True, exist_ok=True)
    target = bodies / source.name
    if not target.exists():
        shutil.copyfile(source, target)
        target.chmod(0o644)
    return target


def _planned(step: Step, payloads: Path, bodies: Path) -> PlannedRequest:
    seen, payload = step.captured.seen, step.captured.payload
    kept = [(n, v) for n, v in (payload.request_headers if payload else []) if _asked(n.lower(), v.strip())]
    body = shown(payloads, payload.request_body, bodies) if payload and payload.request_bytes else None
    return PlannedRequest(
        id=f"r{step.captured.order}", role=step.role, service=seen.service, method=seen.method,
        target=payload.target if payload else seen.target, headers=kept,
        body=body, timeout_s=_timeout(step.captured),
    )  # fmt: skip


def _asked(name: str, value: str) -> bool:
    """Tell whether a header is the client's own: also that it closes, sends in chunks, or names another host."""
    if name == "connection":
        return value.lower() == "close"
    if name == "transfer-encoding":
        return value.lower() == "chunked"
    if name == "host":
        return LOOPBACK.fullmatch(value) is None
    return name not in HOP_BY_HOP


def _timeout(captured: Captured) -> float:
    """Return the client's own limit where it gave up, else a bound far above what the answer took."""
    seen, payload = captured.seen, captured.payload
    if seen.ended != "timeout":
        return max(SHORTEST_TIMEOUT_S, SLACK * seen.duration_s)
    waited = seen.duration_s
    if payload is not None and payload.role == "edge" and payload.end_ns is not None:
        waited = (payload.end_ns - payload.start_ns) / 1e9
    return round(max(0.001, waited), 3)


def _cookies(text: str) -> dict[str, str]:
    pairs = (part.strip().partition("=") for part in text.split(";"))
    return {name: value for name, sep, value in pairs if sep}


def _set_cookies(payload: Payload | None) -> dict[str, str]:
    lines = [v.split(";")[0] for n, v in (payload.answer_headers if payload else []) if n.lower() == "set-cookie"]
    return {name: value for line in lines for name, value in _cookies(line).items()}


def _with_cookies(planned: list[PlannedRequest], payloads: Sequence[Payload | None]) -> list[PlannedRequest]:
    """Let the client keep cookies from the answers that set those which a later request sends."""
    result = list(planned)
    given: dict[tuple[str, str], int] = {}
    for index, payload in enumerate(payloads):
        sent = _cookies(next((v for n, v in planned[index].headers if n.lower() == "cookie"), ""))
        sources = {given[pair] for pair in sent.items() if pair in given}
        for source in sources:
            result[source] = result[source].model_copy(update={"save": {**result[source].save, "cookies": True}})
        if sources:
            kept = [(n, v) for n, v in planned[index].headers if n.lower() != "cookie"]
            result[index] = result[index].model_copy(update={"headers": kept})
        given.update(dict.fromkeys(_set_cookies(payload).items(), index))
    return result


def _with_values(
    planned: list[PlannedRequest], payloads: Sequence[Payload | None], folder: Path, bodies: Path
) -> list[PlannedRequest]:
    """Replace values that an earlier answer gave by saved names."""
    result = list(planned)
    answers = [_text(folder, payload.answer_body if payload else None) for payload in payloads]
    known: set[str] = set()
    for index, request in enumerate(planned):
        body = request.body.read_bytes()[:TEXT_LIMIT].decode("utf-8", "replace") if request.body else ""
        for value in dict.fromkeys(_values(request, body)):
            source = next((n for n in range(index - 1, -1, -1) if value in answers[n]), None)
            if source is not None and planned[source].method.upper() in SAFE and not _random(value):
                continue
            pattern = _pattern(answers[source], value) if source is not None and value not in known else None
            if source is not None and pattern:
                name = f"SAVED_{index}_{len(result[source].save)}"
                result[source] = result[source].model_copy(update={"save": {**result[source].save, name: pattern}})
                result[index] = _substituted(result[index], value, "{{" + name + "}}", bodies)
            elif source is None:
                known.add(value)  # the client's own: it was sent before any answer had it
    return result


def _values(request: PlannedRequest, body: str) -> Iterator[str]:
    """Yield what may be a value made up by the service: long enough, with a digit, no plain word or number."""
    texts = [*re.split(r"[/?&=]", request.target), *(v for n, v in request.headers if n.lower() not in _FIXED), body]
    found = 0
    for text in texts:
        for match in _VALUE.finditer(text):
            value = match.group().strip(".=/")
            if len(value) >= 8 and re.search(r"\d", value) and re.search(r"[A-Za-z]|\d{8}", value):
                found += 1
                yield value
            if found >= VALUES_LIMIT:
                return


def _random(value: str) -> bool:
    """Tell whether a value looks made up: 16 or more letters and digits in irregular order (also with dashes)."""
    plain = re.sub(r"[-_=+/~]", "", value)
    changes = sum(a.isdigit() != b.isdigit() or a.islower() != b.islower() for a, b in itertools.pairwise(plain))
    return len(plain) >= 16 and "." not in value and changes >= len(plain) // 5


_FIXED = frozenset({
    "accept", "accept-encoding", "accept-language", "user-agent", "content-type", "cookie", "origin", "range",
    "if-range", "cache-control", "if-modified-since", "sec-ch-ua", "priority",
})  # fmt: skip


def _pattern(answer: str, value: str) -> str | None:
    """Return a regular expression whose first match in the answer has the value as group 1."""
    at = answer.find(value)
    for width in (12, 24, 48):
        before = answer[max(0, at - width) : at]
        pattern = f"{re.escape(before)}([A-Za-z0-9_\\-.~+/=]{{8,256}})"
        match = re.search(pattern, answer)
        if match and match.group(1) == value:
            return pattern
    return None


def _substituted(request: PlannedRequest, value: str, mark: str, bodies: Path) -> PlannedRequest:
    headers = [(name, text.replace(value, mark)) for name, text in request.headers]
    body = request.body
    if body is not None and value.encode() in (raw := body.read_bytes()):
        bodies.mkdir(parents=True, exist_ok=True)
        body = bodies / f"{request.id}.body"
        body.write_bytes(raw.replace(value.encode(), mark.encode()))
    changed = {"target": request.target.replace(value, mark), "headers": headers, "body": body}
    return request.model_copy(update=changed)


def _text(folder: Path, name: str | None) -> str:
    path = folder / name if name and re.fullmatch(r"[0-9a-f]{64}", name) else None
    if path is None or not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(TEXT_LIMIT).decode("utf-8", "replace")
