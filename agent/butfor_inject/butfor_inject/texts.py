"""JSON texts of what is written for every request, put together here: the hot path of capturing.

A JSON encoder asked for each line took a third of the time that a request under capture costs.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii as quoted
from typing import Any, Iterable, Mapping

_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode

_CONSTANTS = {None: "null", True: "true", False: "false"}
_CONSTANT_KINDS = (bool, type(None))


class Json(str):
    """Text that is JSON already."""

    __slots__ = ()


def text(value: Any) -> str:
    """One value. What is no JSON becomes a string, as `str` gives it."""
    kind = type(value)
    if kind is str:
        return str(quoted(value))
    if kind is Json:
        return str(value)
    if kind is int:
        return str(value)
    return _CONSTANTS[value] if kind in _CONSTANT_KINDS else _encode(value)


def members(values: Mapping[str, Any]) -> Json:
    """An object; keys are our own and need no escapes."""
    return Json("{" + ",".join([f'"{key}":{text(value)}' for key, value in values.items()]) + "}")


def listed(values: Iterable[str]) -> Json:
    """A list of JSON texts."""
    return Json("[" + ",".join(values) + "]")


def pairs(headers: Iterable[tuple[str, str]]) -> Json:
    """A list of pairs of strings."""
    try:
        return listed([f"[{quoted(name)},{quoted(value)}]" for name, value in headers])
    except TypeError:  # a client may have been given a number for a header's value
        return listed([f"[{text(str(name))},{text(str(value))}]" for name, value in headers])


def attributes(values: Mapping[str, Any]) -> Json:
    """OTLP attributes under keys of our own; None values are left out."""
    return listed([f'{{"key":"{key}","value":{_value(value)}}}' for key, value in values.items() if value is not None])


def _value(value: Any) -> str:
    if type(value) is str:
        return f'{{"stringValue":{quoted(value)}}}'
    if isinstance(value, bool):
        return '{"boolValue":true}' if value else '{"boolValue":false}'
    if isinstance(value, int):
        return f'{{"intValue":"{int(value)}"}}'
    return f'{{"stringValue":{quoted(str(value))}}}'
