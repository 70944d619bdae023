"""What an answer says, as a set of tokens, and whether it says what the good answer said.

A token is the smallest thing that may be lost: a word of a text or page, the target of a link, a JSON leaf
(`$.rows[].name="Ann"`), its type (`$.rows[].name:str`), or that a list has at least n items (`$.rows#2`).
A word that stands alone is another token than the same word among signs (`['EUR']`, `&lt;b&gt;`): a value that is
quoted, escaped or put in brackets where good shows it bare is a wrong answer though every word of it is there.
What is *added* never makes an answer differ; what is *lost* does, beyond the drift that was learned on healthy
requests of the same kind (see `butfor.reproducing.expectations`).
"""

from __future__ import annotations

import hashlib
import html.parser
import json
import re
import zlib
from typing import Any
from urllib.parse import urlsplit

BODY_LIMIT = 8 * 1024 * 1024
"""Bytes of a body that are looked at; what is longer is compared by its hash as well."""
TOKEN_LIMIT = 20_000
PIECE_LIMIT = 200
ERROR = 400
"""Answers from this status on are errors."""
MOST = 0.5
"""A page that lost half of what it said is another one."""
LIST_LIMIT = 50
_LOOPBACK = re.compile(r"\b(?:127\.0\.0\.1|localhost|\[::1\]):\d{2,5}\b")
"""Where the service listened in this run; an answer that repeats it says the same on another port."""
_WORD = re.compile(r"[\w.@:/%+-]+")
_PIECE = re.compile(r"\S+")
_WITHIN = "\u00b7"
"""Marks a word that signs touch."""
_TARGETS = ("href", "src", "action", "name", "value")
Headers = list[tuple[str, str]]


def header(headers: Headers, name: str) -> str:
    """Return the first value of `name` (any case), or an empty string."""
    return next((value for key, value in headers if key.lower() == name), "")


def media_type(headers: Headers) -> str:
    """Return the media type without parameters, lower case."""
    return header(headers, "content-type").split(";")[0].strip().lower()


def decoded(body: bytes, headers: Headers) -> bytes:
    """Undo gzip and deflate, at most BODY_LIMIT bytes; a body that does not decode stays as it is."""
    how = header(headers, "content-encoding").strip().lower()
    if how not in ("gzip", "x-gzip", "deflate"):
        return body[:BODY_LIMIT]
    try:
        return zlib.decompressobj(47).decompress(body, BODY_LIMIT)
    except zlib.error:
        return body[:BODY_LIMIT]


def kind(body: bytes, headers: Headers) -> str:
    """Return `empty`, `json`, `html`, `text` or `bytes`: which tokens an answer has."""
    if not body:
        return "empty"
    media = media_type(headers)
    if media.endswith(("/json", "+json")) and _json(body) is not None:
        return "json"
    if "html" in media or "xml" in media:
        return "html"
    return "text" if media.startswith("text/") or _is_text(body) else "bytes"


def tokens(body: bytes, headers: Headers) -> frozenset[str]:
    """Return what the answer says; the empty set for an empty body."""
    body = decoded(body, headers)
    which = kind(body, headers)
    if which in ("json", "html", "text"):
        body = _LOOPBACK.sub("loopback", body.decode("utf-8", "replace")).encode()
    if which == "json":
        found: list[str] = []
        _leaves("$", json.loads(body), found)
        return frozenset(found[:TOKEN_LIMIT])
    if which == "html":
        return _page_tokens(body.decode("utf-8", "replace"))
    if which == "text":
        return _words(body.decode("utf-8", "replace"))
    return frozenset() if which == "empty" else frozenset({"sha256:" + digest(body)})


def digest(body: bytes) -> str:
    """Return the SHA-256 of a body, in hex."""
    return hashlib.sha256(body).hexdigest()


def compare(expected: dict[str, Any], status: Any, headers: Headers, body: bytes) -> tuple[str, str]:
    """Compare with good's answer: returns (`exact` | `stable` | nothing, why not).

    `expected` keys: status, headers {name: value}, sha256, required [token], own [token], tolerance and
    own_tolerance (shares of required and own tokens that may be missing).
    """
    if status != expected["status"]:
        return "", f"status {status}, good has {expected['status']}"
    for name, value in expected.get("headers", {}).items():
        if header_value(headers, name) != value:
            return "", f"header {name} is {header_value(headers, name)!r}, good has {value!r}"
    if expected.get("sha256") and digest(body) == expected["sha256"]:
        return "exact", ""
    have = tokens(body, headers)
    for part, limit in (("own", "own_tolerance"), ("required", "tolerance")):
        why = _lost(expected.get(part, []), have, float(expected.get(limit, 0.0)))
        if why:
            return "", why
    return "stable", ""


def alike(expected: dict[str, Any], status: Any, headers: Headers, body: bytes) -> bool:
    """Tell whether an answer is a sound one, though not good's: what features change between revisions.

    Keys as for `compare`. A success where good has no such thing yet; a JSON answer with all of good's fields, of
    their types, and other values; a page or text that says most of what good says.
    """
    if not isinstance(status, int) or status >= ERROR:
        return False
    if isinstance(expected["status"], int) and expected["status"] >= ERROR:
        return True
    kept = expected.get("headers", {}).get("content-type", "")
    if status != expected["status"] or (kept and header_value(headers, "content-type") != kept):
        return False
    have, parts = tokens(body, headers), [expected.get("required", []), expected.get("own", [])]
    which = kind(decoded(body, headers), headers)
    if which == "json":
        fields = [token for token in parts[0] if token.startswith("$.") and "=" not in token]
        return bool(fields) and all("=" in token for token in parts[0] if token not in have)
    lost = [sum(token not in have for token in part) / len(part) for part in parts if part]
    return which in ("html", "text") and bool(lost) and max(lost) < MOST


def header_value(headers: Headers, name: str) -> str:
    """Return what is compared of a header: cookies by their names, targets without host and query."""
    values = [value for key, value in headers if key.lower() == name]
    if name == "set-cookie":
        return ",".join(sorted({value.split("=")[0].strip() for value in values}))
    if name == "location" and values:
        return urlsplit(values[0]).path
    values = [_LOOPBACK.sub("loopback", value) for value in values]
    if name == "content-type" and values:
        return values[0].split(";")[0].strip().lower()
    return ", ".join(values)


def _lost(wanted: list[str], have: frozenset[str], tolerance: float) -> str:
    missing = [token for token in wanted if token not in have]
    if not missing or len(missing) <= tolerance * len(wanted):
        return ""
    shown = ", ".join(token[:40] for token in missing[:3])
    return f"{len(missing)} of {len(wanted)} stable parts of good's answer are missing: {shown}"


def _words(text: str) -> frozenset[str]:
    """Return the pieces between white space; of a piece with signs in it its words too, marked."""
    found: set[str] = set()
    for match in _PIECE.finditer(text):
        piece = match.group()
        found.add(piece[:PIECE_LIMIT])
        if _WORD.fullmatch(piece) is None:
            found.update(_WITHIN + word for word in _WORD.findall(piece))
        if len(found) >= TOKEN_LIMIT:
            return frozenset(sorted(found)[:TOKEN_LIMIT])
    return frozenset(found)


def _json(body: bytes) -> Any:
    try:
        return {"": json.loads(body)}
    except (ValueError, RecursionError):
        return None


def _is_text(body: bytes) -> bool:
    try:
        sample = body[:4096].decode("utf-8", "strict" if len(body) <= 4096 else "ignore")
    except UnicodeDecodeError:
        return False
    return sum(c.isprintable() or c in "\r\n\t" for c in sample) >= 0.97 * len(sample)


def _leaves(path: str, value: Any, found: list[str], depth: int = 0) -> None:
    """Append the tokens of a JSON value; list positions are left out, so that rows may be reordered."""
    if len(found) >= TOKEN_LIMIT or depth > 60:
        return
    found.append(f"{path}:{type(value).__name__}")
    if isinstance(value, dict):
        for key in sorted(value):
            _leaves(f"{path}.{key}", value[key], found, depth + 1)
    elif isinstance(value, list):
        found.extend(f"{path}#{n}" for n in range(1, min(len(value), LIST_LIMIT) + 1))
        for item in value:
            _leaves(f"{path}[]", item, found, depth + 1)
    else:
        found.append(f"{path}={json.dumps(value)[:200]}")


class _Page(html.parser.HTMLParser):
    """Collects visible words, and the targets of links and fields."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: set[str] = set()
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._hidden += tag in ("script", "style")
        for name, value in attrs:
            if name in _TARGETS and value and tag not in ("script", "link", "meta"):
                self.found.add(f"{name}:{value.split('?')[0].split('#')[0][:200]}")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style") and self._hidden > 0

    def handle_data(self, data: str) -> None:
        if not self._hidden and len(self.found) < TOKEN_LIMIT:
            self.found |= _words(data)


def _page_tokens(text: str) -> frozenset[str]:
    page = _Page()
    try:
        page.feed(text)
        page.close()
    except AssertionError:  # the parser's own answer to malformed declarations
        return _words(text)
    return frozenset(sorted(page.found)[:TOKEN_LIMIT])
