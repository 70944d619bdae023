"""OTLP/JSON attribute values and ids as text, the way the Collector's ClickHouse exporter writes them."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

MAX_DEPTH = 32
"""Nesting of a value; what is deeper becomes `<too deep>`."""
MAX_ATTRIBUTES = 1024
"""Attributes per span, event or resource; OpenTelemetry's own default is 128."""

Pairs = list[tuple[str, str]]


class MalformedError(ValueError):
    """A record that is not OTLP; the message is the reason that the loss states."""


def text(value: Any) -> str:
    """The text of an OTLP/JSON AnyValue: plain for scalars, JSON for lists and maps, base64 for bytes."""
    if not isinstance(value, dict):
        return ""
    if isinstance(plain := value.get("stringValue"), str):
        return clean(plain)
    if not value:
        return ""
    found = _plain(value, 0)
    return found if isinstance(found, str) else _json(found)


def _plain(value: Any, depth: int) -> Any:
    """The AnyValue as plain JSON data; None for what is no value."""
    if depth > MAX_DEPTH:
        return "<too deep>"
    if not isinstance(value, dict) or not value:
        return None
    kind, inner = next(iter(value.items()))
    if kind == "arrayValue":
        return [_plain(item, depth + 1) for item in items(inner, "values")]
    if kind == "kvlistValue":
        pairs = (pair for pair in items(inner, "values") if isinstance(pair, dict))
        return {str(pair.get("key", "")): _plain(pair.get("value"), depth + 1) for pair in pairs}
    return _scalar(kind, inner)


def _scalar(kind: str, inner: Any) -> str | float | None:
    if kind == "intValue":
        return _integer(inner)
    if kind == "stringValue":
        return clean(inner) if isinstance(inner, str) else None
    known = kind in ("boolValue", "doubleValue", "bytesValue") and isinstance(inner, str | int | float)
    return inner if known else None


def _integer(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _json(found: Any) -> str:
    if found is None:
        return ""
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, float) and found.is_integer() and abs(found) < 1e15:
        return str(int(found))
    return clean(json.dumps(found, separators=(",", ":"), sort_keys=True, ensure_ascii=False))


def clean(value: str) -> str:
    """Text that Arrow can hold: lone surrogates (JSON may carry them) become U+FFFD."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "replace").decode()
    return value


def items(value: Any, key: str) -> list[Any]:
    """`value[key]` as a list; anything else counts as empty."""
    found = value.get(key) if isinstance(value, dict) else None
    return found if isinstance(found, list) else []


def pairs(attributes: Any) -> Pairs:
    """OTLP/JSON attributes as (key, text), each key once: the first one wins, as in the Collector."""
    if not isinstance(attributes, list):
        return []
    found: dict[str, str] = {}
    for attribute in attributes[:MAX_ATTRIBUTES]:
        if isinstance(attribute, dict) and isinstance(key := attribute.get("key"), str) and key not in found:
            found[key] = text(attribute.get("value"))
    return [(clean(key), value) for key, value in found.items()]


def identity(value: Any, size: int) -> str:
    """An id as `2 * size` lower-case hex digits; empty for an absent or all-zero id.

    OTLP/JSON says hex. Writers that used protobuf's own JSON wrote base64, which is told apart by its length.
    """
    if value in (None, ""):
        return ""
    if not isinstance(value, str):
        raise MalformedError("an id is not text")
    digits = value.lower() if len(value) == 2 * size else _from_base64(value, size)
    try:
        number = int(digits, 16)
    except ValueError:
        raise MalformedError("an id is not hex") from None
    if not digits.isalnum():
        raise MalformedError("an id is not hex")
    return digits if number else ""


def _from_base64(value: str, size: int) -> str:
    try:
        raw = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != size:
        raise MalformedError("an id has the wrong length")
    return raw.hex()


def nanoseconds(value: Any) -> int | None:
    """A Unix time in ns from a number or its text; None for absent or 0."""
    if value in (None, "", 0, "0"):
        return None
    if isinstance(value, bool) or not isinstance(value, int | str | float):
        raise MalformedError("a time is not a number")
    try:
        number = int(value)
    except (ValueError, OverflowError):
        raise MalformedError("a time is not a number") from None
    if not 0 < number < 2**63:
        raise MalformedError("a time is out of range")
    return number


def enumerated(value: Any, names: tuple[str, ...], prefix: str) -> str:
    """An enum as its name without the prefix; unknown values become the first name."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return names[value]
    if isinstance(value, str):
        bare = value.removeprefix(prefix)
        if bare in names:
            return bare
    return names[0]
