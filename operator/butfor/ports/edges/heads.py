"""Heads of HTTP/1 messages: parsed, and the request's rewritten with our `traceparent`."""

from __future__ import annotations

import re

Headers = list[tuple[str, str]]

HEAD_LIMIT = 262_144
REQUEST = re.compile(rb"^([!#$%&'*+.^_`|~0-9A-Za-z-]+) (.+) HTTP/1\.([01])$")
STATUS = re.compile(rb"^HTTP/1\.[01] (\d{3})(?: |$)")
HEAD_END = re.compile(rb"\r?\n\r?\n")
TRACEPARENT = re.compile(r"^(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")


def field(headers: Headers, name: str) -> str:
    """The first value of a header, or an empty text."""
    return next((value for key, value in headers if key.lower() == name), "")


def parse_headers(lines: list[bytes]) -> Headers:
    """Header lines as pairs; a folded line belongs to the one before it."""
    headers: Headers = []
    for line in lines:
        text = line.decode("latin-1").rstrip("\r")
        if text[:1] in {" ", "\t"} and headers:
            headers[-1] = (headers[-1][0], f"{headers[-1][1]} {text.strip()}")
        elif text:
            name, _, value = text.partition(":")
            headers.append((name.strip(), value.strip()))
    return headers


def rewritten(head: bytes, traceparent: str) -> bytes:
    """The request's head with this `traceparent`, in its old place or last; every other byte stays."""
    lines = head.split(b"\n")
    ours = b"traceparent: " + traceparent.encode() + (b"\r" if lines[0].endswith(b"\r") else b"")
    old = [n for n, line in enumerate(lines) if line[:12].lower() == b"traceparent:"]
    for n in reversed(old):
        del lines[n]
    lines.insert(old[0] if old else len(lines) - 2, ours)
    return b"\n".join(lines)
