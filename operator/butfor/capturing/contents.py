"""Bodies as text: content encodings undone and redone, character sets, and what cannot be read."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import zstandard

MAX_BYTES = 256 * 2**20


class EncodingError(ValueError):
    """A body cannot be decoded; the message says why."""


@dataclass(frozen=True)
class Content:
    """A body as text; `pack` turns a rewritten text into bytes of the same charset and encoding."""

    text: str
    pack: Callable[[str], bytes]


def content(body: bytes, encoding: str) -> Content:
    """Undo the content encoding and the character set; EncodingError where that is not possible."""
    codings = [c.strip().lower() for c in encoding.split(",") if c.strip() and c.strip().lower() != "identity"]
    data = body
    for coding in reversed(codings):
        data = _unpacked(data, coding)
    try:
        text, charset = data.decode("utf-8"), "utf-8"
    except UnicodeDecodeError:
        text, charset = data.decode("latin-1"), "latin-1"

    def pack(rewritten: str) -> bytes:
        packed = rewritten.encode(charset, "replace")
        for coding in codings:
            packed = _packed(packed, coding)
        return packed

    return Content(text, pack)


def _unpacked(data: bytes, coding: str) -> bytes:
    try:
        if coding in {"gzip", "x-gzip"}:
            return _bounded(zlib.decompressobj(31), data)
        if coding == "deflate":
            return _bounded(zlib.decompressobj(15 if data[:1] == b"\x78" else -15), data)
        if coding == "zstd":
            return zstandard.ZstdDecompressor().decompress(data, max_output_size=MAX_BYTES)
    except (zlib.error, zstandard.ZstdError) as error:
        raise EncodingError(f"its {coding} encoding is broken") from error
    raise EncodingError(f"content encoding {coding} cannot be undone")


def _bounded(decompressor: zlib._Decompress, data: bytes) -> bytes:
    out = decompressor.decompress(data, MAX_BYTES)
    if decompressor.unconsumed_tail:
        raise EncodingError(f"it unpacks to more than {MAX_BYTES} bytes")
    if not decompressor.eof:
        raise EncodingError("its encoding is cut off")
    return out


def _packed(data: bytes, coding: str) -> bytes:
    if coding == "deflate":
        return zlib.compress(data)
    if coding == "zstd":
        return zstandard.ZstdCompressor().compress(data)
    return gzip.compress(data, mtime=0)
