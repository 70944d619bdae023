"""Message templates: what varies between occurrences of one failure becomes `<*>`, what names it stays."""

from __future__ import annotations

import re
from functools import lru_cache

MARK = "<*>"
MAX_MESSAGE = 2000
MAX_TEMPLATE = 400

_VARIABLE = re.compile(
    r"(?<!\w)(?P<quote>['\"])(?P<inner>(?:\\.|(?!(?P=quote)).){0,2000}?)(?P=quote)(?!\w)"
    r"|[a-zA-Z][\w+.\-]{1,20}://[^\s'\"<>]+"
    r"|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
    r"|0x[0-9a-fA-F]+"
    r"|[\w.+\-]{1,64}@[\w\-]{1,64}(?:\.[\w\-]{1,64})+"
    r"|(?<![\w/.])(?:[A-Za-z]:\\|/)[^\s'\",;:()\[\]{}]+"
    r"|(?<![\w])(?=[0-9a-fA-F]*[0-9])(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{8,}(?![\w])"
    r"|(?<![A-Za-z_<.])[+\-]?\d+(?:\.\d+)*(?:[eE][+\-]?\d+)?(?![A-Za-z_>])"
)
_IDENTIFIER = re.compile(r"[^\W\d][\w.\-]{0,39}")


@lru_cache(maxsize=16384)
def template(message: str) -> str:
    """The template of a message's first lines.

    Numbers, hex, UUIDs, URLs, mail addresses, paths and quoted values become `<*>`. A short quoted identifier (a
    KeyError's key, an attribute's or type's name) is signal and stays.
    """
    plain = " ".join(message[:MAX_MESSAGE].split())
    return _VARIABLE.sub(_replaced, plain)[:MAX_TEMPLATE]


def _replaced(match: re.Match[str]) -> str:
    quote, inner = match["quote"], match["inner"]
    if quote is None:
        return MARK
    if inner == MARK or (_IDENTIFIER.fullmatch(inner) and not _looks_variable(inner)):
        return match[0]
    return f"{quote}{MARK}{quote}"


def _looks_variable(inner: str) -> bool:
    """Identifiers with many digits are ids, with a file's ending they are files."""
    digits = sum(c.isdigit() for c in inner)
    return digits > 2 or bool(re.search(r"\.[a-z0-9]{1,4}$", inner))
