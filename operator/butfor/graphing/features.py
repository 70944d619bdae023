"""What a message looks like, as a flat map from dimension to value: comparable between requests.

Dimensions: `query:NAME`, `header:NAME`, `path:INDEX`, `path.segments`, `body.kind`, `body.size`, `body:JSONPATH`,
`body.form:NAME`. A value is its kind or, for `=` dimensions, the value itself. Everything read is bounded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from butfor.evidence.requests import Payload

MAX_BODY = 1 << 20
_MAX_PATHS = 200
_MAX_DEPTH = 8
_SHA256 = re.compile(r"[0-9a-f]{64}")
_VOLATILE = frozenset({
    "host", "connection", "content-length", "date", "traceparent", "tracestate", "baggage", "transfer-encoding",
    "keep-alive", "x-request-id", "x-forwarded-for", "x-forwarded-port", "forwarded", "via", "age", "etag",
    "last-modified", "set-cookie", "cookie", "authorization", "proxy-authorization", "server",
})  # fmt: skip
"""Headers whose values differ from request to request; of these only the presence is compared."""

Features = dict[str, str]


def of_target(target: str) -> Features:
    """Dimensions of a request target."""
    path, _, query = target.partition("?")
    segments = [s for s in path.split("/") if s][:32]
    found = {"path.segments": str(len(segments))}
    found |= {f"path:{i}=": segment for i, segment in enumerate(segments)}
    for name, value in _fields(query):
        found |= {f"query:{name}": _kind_of_text(value), f"query:{name}=": value}
    return found


def of_request(payload: Payload, bundle: Path) -> Features:
    """Dimensions of a captured request."""
    found = of_target(payload.target) | of_headers(payload.request_headers)
    kind = media_type(payload.request_headers)
    return found | of_body(bundle, payload.request_body, kind, payload.request_bytes)


def of_answer(payload: Payload, bundle: Path) -> Features:
    """Dimensions of a captured answer; its status is not one of them."""
    found = of_headers(payload.answer_headers)
    kind = media_type(payload.answer_headers)
    return found | of_body(bundle, payload.answer_body, kind, payload.answer_bytes)


def of_headers(headers: Iterable[tuple[str, str]]) -> Features:
    """Presence of every header, values of those that mean something."""
    found: Features = {}
    for name, value in list(headers)[:100]:
        low = name.lower()[:60]
        if low == "content-type":
            continue  # `body.kind` says it without the boundary
        found[f"header:{low}"] = "present"
        if low not in _VOLATILE:
            found[f"header:{low}="] = value[:200]
    return found


def media_type(headers: Iterable[tuple[str, str]]) -> str:
    """The media type without parameters; empty where none is stated."""
    stated = next((v for n, v in headers if n.lower() == "content-type"), "")
    return stated.partition(";")[0].strip().lower()[:60]


def of_body(bundle: Path, digest: str | None, kind: str, size: int) -> Features:
    """Kind and size, and the structure of JSON and of forms."""
    found = {"body.kind": (kind or "unstated") if size else "none", "body.size": str(size)}
    raw = read_body(bundle, digest) if digest and size <= MAX_BODY else None
    if raw is None:
        return found
    if kind == "application/json" or kind.endswith("+json") or raw[:1] in {b"{", b"["}:
        found |= dict(_leaves(parsed(raw)))
    elif kind == "application/x-www-form-urlencoded":
        for name, value in _fields(raw.decode("latin-1")):
            found |= {f"body.form:{name}": _kind_of_text(value), f"body.form:{name}=": value}
    return found


def read_body(bundle: Path, digest: str | None) -> bytes | None:
    """A body of the bundle by its hash; None where it is not there, too large or not a hash at all."""
    if not digest or not _SHA256.fullmatch(digest):
        return None
    path = bundle / "payloads" / digest
    try:
        if path.stat().st_size > MAX_BODY:
            return None
        return path.read_bytes()
    except OSError:
        return None


def parsed(raw: bytes) -> Any:
    """The JSON value, or None; hostile nesting and numbers are None too."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def _leaves(value: Any, path: str = "$", depth: int = 0) -> list[tuple[str, str]]:
    """Per JSON path its type, and for scalars the value; list items share the path `[]`."""
    found = [(f"body:{path}", _type(value))]
    if depth >= _MAX_DEPTH:
        return found
    if isinstance(value, dict):
        for key in sorted(value)[:_MAX_PATHS]:
            found += _leaves(value[key], f"{path}.{key[:60]}", depth + 1)
    elif isinstance(value, list):
        found.append((f"body:{path}.length", "0" if not value else "some"))
        for item in value[:5]:
            found += _leaves(item, f"{path}[]", depth + 1)
    elif not isinstance(value, float):
        found.append((f"body:{path}=", json.dumps(value)[:200]))
    return found[:_MAX_PATHS]


def _type(value: Any) -> str:
    kinds = {dict: "object", list: "array", str: "text", bool: "boolean", int: "number", float: "number"}
    if value == "" or (isinstance(value, (int, float)) and value < 0):
        return "empty text" if value == "" else "negative number"
    return kinds.get(type(value), "null")


def _kind_of_text(value: str) -> str:
    if not value:
        return "empty text"
    number = re.fullmatch(r"(-)?\d{1,30}(\.\d{1,30})?", value, re.ASCII)
    if number:
        return "negative number" if number[1] else "number"
    return "text" if value.isascii() else "text beyond ASCII"


def _fields(query: str) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(query[:8192], keep_blank_values=True, max_num_fields=100)
    except ValueError:
        return []
    return [(name[:60], value[:200]) for name, value in pairs]
