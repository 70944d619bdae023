"""Message templates: what varies between occurrences of one failure becomes `<*>`, what names it stays."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import takewhile

MARK = "<*>"
MAX_MESSAGE = 2000
MAX_TEMPLATE = 400

_VARIABLE = re.compile(
    r"(?<!\w)(?P<quote>['\"])(?P<inner>(?:\\.|(?!(?P=quote)).){0,2000}?)(?P=quote)(?!\w)"
    r"|[a-zA-Z][\w+.\-]{1,20}://[^\s'\"<>]+"
    r"|[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
    r"|0x[0-9a-fA-F]+"
    r"|[\w.+\-]{1,64}@[\w\-]{1,64}(?:\.[\w\-]{1,64})+"
    r"|(?<![\w/.>])(?:[A-Za-z]:\\|/)[^\s'\",;:()\[\]{}]+"
    r"|(?<![\w])(?=[0-9a-fA-F]*[0-9])(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{8,}(?![\w])"
    r"|(?<![A-Za-z_<.])[+\-]?\d+(?:\.\d+)*(?:[eE][+\-]?\d+)?(?![A-Za-z_>])"
)
_OPERATOR = re.compile(r"[^\w\s<>]{1,3}|[<>]=?|<<|>>")
_IDENTIFIER = re.compile(r"[^\W\d][\w.\-]{0,39}")


@lru_cache(maxsize=16384)
def template(message: str) -> str:
    """The template of a message's first line, which `fits` it; a long one ends in `<*>`.

    Numbers, hex, UUIDs, URLs, mail addresses, paths and quoted values become `<*>`. A short quoted identifier (a
    KeyError's key, an attribute's or type's name) or operator is signal and stays.
    """
    line = (message.strip().splitlines() or [""])[0]
    found = _VARIABLE.sub(_replaced, line[:MAX_MESSAGE])
    return found if len(line) <= MAX_MESSAGE and len(found) <= MAX_TEMPLATE else _cut(found)


def _cut(found: str) -> str:
    """Never within a mark, which would be taken for words."""
    short = found[:MAX_TEMPLATE]
    at = short.rfind("<")
    return (short[:at] if at > MAX_TEMPLATE - len(MARK) else short) + MARK


def _replaced(match: re.Match[str]) -> str:
    quote, inner = match["quote"], match["inner"]
    if quote is None:
        return MARK
    if inner == MARK or _OPERATOR.fullmatch(inner) or (_IDENTIFIER.fullmatch(inner) and not _looks_variable(inner)):
        return match[0]
    return f"{quote}{MARK}{quote}"


def _looks_variable(inner: str) -> bool:
    """Identifiers with many digits are ids, with a file's ending they are files."""
    digits = sum(c.isdigit() for c in inner)
    return digits > 2 or bool(re.search(r"\.[a-z0-9]{1,4}$", inner))


def common(templates: list[str]) -> str:
    """One template for several of one place: words in which they differ become `<*>`."""
    words = [one.split(" ") for one in dict.fromkeys(templates)]
    if len({len(one) for one in words}) == 1:
        return " ".join(column[0] if len(set(column)) == 1 else MARK for column in zip(*words, strict=True))
    shared = [column[0] for column in takewhile(lambda column: len(set(column)) == 1, zip(*words, strict=False))]
    return " ".join([*shared, MARK])


def fits(wanted: str, said: str) -> bool:
    """A template is of the wanted form, in which `<*>` stands for anything."""
    first, *middle = wanted.split(MARK)
    if not middle:
        return said == wanted
    *middle, last = middle
    if len(said) < len(first) + len(last) or not (said.startswith(first) and said.endswith(last)):
        return False
    at, end = len(first), len(said) - len(last)
    for part in middle:  # the earliest place is always good enough, so this takes one pass
        at = said.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
