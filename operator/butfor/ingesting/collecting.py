"""What a play's collector kept, as OTLP/JSON lines in the same spool: `otlp-*.frames` to `spans-*.jsonl` and others.

Frames are what the services sent and may hold anything: bounded, and what cannot be read is a counted Loss.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from butfor.evidence.bundles import Loss
from butfor.ingesting.encodings import (
    SIGNALS,
    DecodingError,
    Kind,
    Signal,
    from_json,
    from_protobuf,
    gunzip,
    rejections,
)
from butfor.ingesting.losses import Losses
from butfor.ingesting.receivers import MAX_BODY_BYTES, Spool

MAX_HEAD_BYTES = 8192
_SIGNALS: Mapping[str, Kind] = {"traces": "spans", "logs": "logs", "metrics": "metrics"}
_WHERE = "otlp"
STATED = "butfor.stated.service.name"

Facts = dict[str, Any]


def collect(spool: Path, revisions: Mapping[str, str]) -> list[Loss]:
    """Append what services sent; returns what could not be read.

    Resources get the name by which the service was started (another name of its own stays in `STATED`) and, where
    it states none, its revision of `revisions`. Raises OSError where the spool cannot be written.
    """
    losses, sink = Losses(), Spool(spool)
    try:
        for path in sorted(spool.glob("otlp-*.frames")):
            for facts, body in _frames(path, losses):
                _take(sink, facts, body, revisions, losses)
    finally:
        sink.close()
    return losses.listed()


def _frames(path: Path, losses: Losses) -> Iterator[tuple[Facts, bytes]]:
    number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(number, "rb") as file:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            losses.add(_WHERE, "not a regular file")
            return
        while head := file.readline(MAX_HEAD_BYTES):
            frame = _frame(head, file)
            if frame is None:
                losses.add(_WHERE, "a request that was kept is cut off")
                return
            yield frame


def _frame(head: bytes, file: BinaryIO) -> tuple[Facts, bytes] | None:
    """None where it is broken: what follows cannot be found then."""
    try:
        facts = json.loads(head)
        size = facts["bytes"]
    except (ValueError, RecursionError, TypeError, KeyError):
        return None
    if not isinstance(size, int) or not 0 <= size <= MAX_BODY_BYTES:
        return None
    body = file.read(size)
    return (facts, body) if len(body) == size else None


def _take(sink: Spool, facts: Facts, body: bytes, revisions: Mapping[str, str], losses: Losses) -> None:
    kind, service = _SIGNALS.get(str(facts.get("signal"))), str(facts.get("service") or "")
    if kind is None or not service:
        losses.add(_WHERE, "a request of no known signal or service")
        return
    try:
        found, rejected = _decoded(SIGNALS[kind], facts, body)
    except DecodingError:
        losses.add(_WHERE, "a request that is no OTLP")
        return
    rejected += rejections(SIGNALS[kind], found)
    if rejected:
        losses.add(_WHERE, "records without a valid trace or span id", rejected)
    for group in found.get(SIGNALS[kind].groups[0], []):
        _name(group.setdefault("resource", {}).setdefault("attributes", []), service, revisions.get(service, ""))
    if found:
        sink.append(kind, found)


def _decoded(signal: Signal, facts: Facts, body: bytes) -> tuple[dict[str, Any], int]:
    coding = facts.get("content_encoding") or "identity"
    if coding == "gzip":
        body = gunzip(body, MAX_BODY_BYTES)
    elif coding != "identity":
        raise DecodingError("an unknown content encoding")
    if facts.get("content_type") == "application/json":
        return from_json(signal, body)
    return from_protobuf(signal, body), 0


def _name(attributes: list[dict[str, Any]], service: str, revision: str) -> None:
    """Name a resource, in place; the list has been through protobuf, so its form is known."""
    stated = next((a for a in attributes if a.get("key") == "service.name"), None)
    if stated is not None and stated.get("value") != {"stringValue": service}:
        stated["key"] = STATED
        stated = None
    if stated is None:
        attributes.append({"key": "service.name", "value": {"stringValue": service}})
    key = "vcs.ref.head.revision"
    if revision and not any(a.get("key") == key for a in attributes):
        attributes.append({"key": key, "value": {"stringValue": revision}})
