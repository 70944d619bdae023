"""Reading a bundle's payload index: which message pair belongs to which span."""

from __future__ import annotations

import os
import re
from pathlib import Path

from pydantic import ValidationError

from butfor.evidence.requests import Payload
from butfor.ingesting.losses import Losses

INDEX = "index.jsonl"
MAX_PAYLOADS = 500_000
MAX_INDEX_LINE = 4 * 2**20
"""Headers and target of one message pair; servers refuse more than 64 KiB of headers."""
_HASH = re.compile(r"[0-9a-f]{64}")


def read_payloads(folder: Path, losses: Losses) -> list[Payload]:
    """Payloads in time order. Hashes are checked to be hashes, so that no index can name a file elsewhere."""
    index = folder / INDEX
    if not index.is_file():
        return []
    bodies = {entry.name for entry in os.scandir(folder) if entry.is_file(follow_symlinks=False)}
    where = f"payloads/{INDEX}"
    found: list[Payload] = []
    with index.open("rb") as file:
        while line := file.readline(MAX_INDEX_LINE):
            if len(found) >= MAX_PAYLOADS:
                losses.add(where, f"more than {MAX_PAYLOADS} payloads")
            elif line.strip() and (payload := _payload(line, bodies, losses, where)):
                found.append(payload)
    return sorted(found, key=lambda payload: (payload.start_ns, payload.trace_id, payload.span_id, payload.role))


def _payload(line: bytes, bodies: set[str], losses: Losses, where: str) -> Payload | None:
    try:
        payload = Payload.model_validate_json(line)
    except ValidationError:
        losses.add(where, "a line is no payload")
        return None
    absent: dict[str, object] = {}
    for body, truncated in (("request_body", "request_truncated"), ("answer_body", "answer_truncated")):
        name = getattr(payload, body)
        if name is not None and not (_HASH.fullmatch(name) and name in bodies):
            losses.add(where, "a body's file is missing")
            absent |= {body: None, truncated: True}
    return payload.model_copy(update=absent) if absent else payload
