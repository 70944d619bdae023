"""The process context (OTEP 4719): resource and the facts that a reader of thread records needs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from butfor_context import following, writer

SCHEMA = "tlsdesc_v1_dev"
_published: dict[str, str] = {}


def publish(resource: Mapping[str, str]) -> None:
    """Publish the resource's attributes, and again in every child. Raises OSError where the kernel has no memfd."""
    _published.clear()
    _published.update(resource)
    _write()


def _write() -> None:
    facts = {"threadlocal.schema_version": SCHEMA, "butfor.context.covers": ",".join(following.coverage())}
    resource = b"".join(_field(1, _attribute(key, value)) for key, value in _published.items())
    writer.publish(_field(1, resource) + b"".join(_field(2, _attribute(key, value)) for key, value in facts.items()))


def _again_in_child() -> None:
    if _published:
        _write()


def _attribute(key: str, value: str) -> bytes:
    """`opentelemetry.proto.common.v1.KeyValue` with a string value."""
    return _field(1, key.encode()) + _field(2, _field(1, value.encode()))


def _field(number: int, data: bytes) -> bytes:
    return bytes([number << 3 | 2, *_varint(len(data))]) + data


def _varint(value: int) -> Iterable[int]:
    while value > 127:
        yield value & 127 | 128
        value >>= 7
    yield value


os.register_at_fork(after_in_child=_again_in_child)
