"""Finding the named values inside text of a known form, with where they stand; nothing is decided here.

Forms: `json`, `xml`, `html`, `form`, `url`, `cookies`, `set-cookie`, `multipart`. Positions are in the text as it
was sent, so that what is not touched keeps every byte.
"""

from __future__ import annotations

import html
import json
import re
import xml.parsers.expat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import unquote, unquote_plus

MAX_DEPTH = 200


@dataclass(frozen=True)
class Field:
    """A value at `start:end` of a text. `value` is decoded; `encode` writes a replacement as the text needs it.

    `names` is the name itself, then the names of what encloses it. `number`: it is no text in its form.
    """

    names: tuple[str, ...]
    start: int
    end: int
    value: str
    codec: str = "plain"
    number: bool = False
    form: str = "text"


def encode(text: str, raw: str, codec: str) -> str:
    """Write a replacement the way its place was written: percent, JSON or XML escapes."""
    if codec == "json":
        ascii_only = raw.isascii()
        return json.dumps(text, ensure_ascii=ascii_only)[1:-1]
    if codec == "xml":
        return html.escape(text, quote=True)
    if codec in {"percent", "plus"}:
        return _percent(text, raw, plus=codec == "plus")
    return text


def _percent(text: str, raw: str, *, plus: bool) -> str:
    """Percent-encode what was encoded in `raw`, character by character where both have the same length."""
    units = re.findall(r"(?:%[0-9A-Fa-f]{2})+|.", raw, re.DOTALL)
    shape = [u for unit in units for u in _characters(unit)]
    if len(shape) != len(text):
        return "".join(_escape(c) if not (c.isalnum() and c.isascii()) else c for c in text)
    written = []
    for was, character in zip(shape, text, strict=True):
        if was == "+" and plus and character == " ":
            written.append("+")
        elif was.startswith("%") or character in "%&=+#?" or not character.isascii():
            written.append(_escape(character))
        else:
            written.append(character)
    return "".join(written)


def _characters(unit: str) -> list[str]:
    return [_escape(c) for c in unquote(unit)] if unit.startswith("%") and len(unit) > 1 else [unit]


def _escape(character: str) -> str:
    return "".join(f"%{b:02X}" for b in character.encode("utf-8", "surrogatepass"))


def json_fields(text: str) -> list[Field] | None:
    """Strings and numbers of a JSON text; None where it is not JSON."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return None
    return list(_json_walk(text))


_JSON_TOKEN = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:)?|(-?\d[\d.eE+-]*)|([\[{])|([\]}])')


def _json_walk(text: str) -> Iterator[Field]:
    """Valid JSON is a sequence of tokens; `stack` holds each enclosing value's name."""
    stack: list[str] = []
    name = ""
    for token in _JSON_TOKEN.finditer(text):
        string, colon, number, opening, closing = token.groups()
        if colon is not None:
            name = _json_text(string)
        elif string is not None:
            names = (name, *reversed(stack[-MAX_DEPTH:]))
            yield Field(names, token.start(1), token.end(1), _json_text(string), "json")
        elif number is not None:
            names = (name, *reversed(stack[-MAX_DEPTH:]))
            yield Field(names, token.start(3), token.end(3), number, number=True)
        elif opening:
            stack.append(name)
            name = name if opening == "[" else ""
        elif closing and stack:
            name = stack.pop()


def _json_text(raw: str) -> str:
    if "\\" not in raw:
        return raw
    try:
        return str(json.loads(f'"{raw}"', strict=False))
    except ValueError:
        return raw


def form_fields(text: str) -> list[Field]:
    """`a=b&c=d`, as in a form or a query."""
    found = []
    for match in re.finditer(r"[^&;]+", text):
        name, equals, value = match.group().partition("=")
        if equals:
            start = match.start() + len(name) + 1
            found.append(Field((unquote_plus(name),), start, match.end(), unquote_plus(value), "plus"))
    return found


def url_fields(text: str) -> list[Field]:
    """Path segments (without a name), then the query's and the fragment's values."""
    path, mark, query = text.partition("?")
    found = [
        Field((), m.start(), m.end(), unquote(m.group()), "percent")
        for m in re.finditer(r"[^/]+", path)
        if "%" in m.group()
    ]
    offset = len(path) + len(mark)
    return found + [_moved(f, offset) for f in form_fields(query)]


def cookie_fields(text: str) -> list[Field]:
    """`Cookie`: every value, under the cookie's name and `cookie`."""
    return [field for match in re.finditer(r"[^;]+", text) for field in _cookie(match)]


def set_cookie_fields(text: str) -> list[Field]:
    """`Set-Cookie`: the first value; what follows are attributes."""
    match = re.match(r"[^;]+", text)
    return _cookie(match) if match else []


def _cookie(match: re.Match[str]) -> list[Field]:
    name, equals, value = match.group().partition("=")
    if not equals:
        return []
    bare = value.strip().strip('"')
    start = match.start() + len(name) + 1 + value.find(bare)
    return [Field((name.strip(), "cookie"), start, start + len(bare), unquote(bare), "percent")]


def xml_fields(text: str) -> list[Field] | None:
    """Text and attributes of an XML document; None where it is none, or declares entities of its own."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        return None
    try:
        xml.parsers.expat.ParserCreate().Parse(text.encode("utf-8", "surrogatepass"), True)
    except (xml.parsers.expat.ExpatError, ValueError):
        return None
    try:
        return list(_markup(text))
    except _UnclosedError:
        return None


MAX_UNCLOSED = 10
"""Of tags without an end in one HTML text: each is looked for to the end of the text."""

_TAG = re.compile(
    r"<!--.*?-->|<!\[CDATA\[(.*?)\]\]>|<\?.*?\?>|<(/?)([^\s/<>]+)((?:[^>\"']|\"[^\"]*\"|'[^']*')*)>", re.DOTALL
)
_OPENING = re.compile(r"<(?=[A-Za-z/!?:_])")
_ATTRIBUTE = re.compile(r"(?<![^\s/\"'])([^\s=/\"'<>]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")


class _UnclosedError(ValueError):
    """More tags without an end than are looked for."""


def _tags(text: str) -> Iterator[re.Match[str]]:
    """Tags in order; what opens and never closes is text."""
    at, unclosed = 0, 0
    while opening := _OPENING.search(text, at):
        tag = _TAG.match(text, opening.start())
        if tag is None:
            unclosed += 1
            if unclosed > MAX_UNCLOSED:
                raise _UnclosedError
        else:
            yield tag
        at = tag.end() if tag else opening.end()


def _markup(text: str) -> Iterator[Field]:
    stack: list[str] = []
    last = 0
    for tag in _tags(text):
        if tag.start() > last:
            yield _text_field(text, last, tag.start(), stack)
        last = tag.end()
        if tag.group(1) is not None:
            yield Field(tuple(reversed(stack[-MAX_DEPTH:])), tag.start(1), tag.end(1), tag.group(1))
        elif tag.group(2):
            del stack[-1:]
        elif tag.group(3):
            name = tag.group(3).rpartition(":")[2]
            yield from _attributes(tag, (name, *reversed(stack[-MAX_DEPTH:])))
            if not tag.group(4).rstrip().endswith("/"):
                stack.append(name)


def _text_field(text: str, start: int, end: int, stack: list[str]) -> Field:
    return Field(tuple(reversed(stack[-MAX_DEPTH:])), start, end, html.unescape(text[start:end]), "xml")


def _attributes(tag: re.Match[str], names: tuple[str, ...]) -> Iterator[Field]:
    for attribute in _ATTRIBUTE.finditer(tag.group(4)):
        group = 2 if attribute.group(2) is not None else 3
        start, end = (tag.start(4) + edge for edge in attribute.span(group))
        name = attribute.group(1).rpartition(":")[2]
        yield Field((name, *names), start, end, html.unescape(attribute.group(group)), "xml")


def html_fields(text: str) -> list[Field] | None:
    """`value` and `content` of tags that name them (hidden inputs, meta tags), and attributes that are links."""
    found = []
    try:
        tags = [tag for tag in _tags(text) if tag.group(3)]
    except _UnclosedError:
        return None
    for tag in tags:
        attributes = list(_attributes(tag, (tag.group(3),)))
        named = {f.names[0].lower(): f for f in attributes}
        label = named.get("name") or named.get("id")
        for name, field in named.items():
            if name in {"value", "content"} and label:
                found.append(Field((label.value, name), field.start, field.end, field.value, "xml"))
            elif name in {"href", "src", "action"}:
                found.append(Field((name,), field.start, field.end, field.value, "xml", form="url"))
    return found


MAX_PART_HEAD = 16_384
_HEAD_END = re.compile(r"\r?\n\r?\n")


def multipart_fields(text: str, boundary: str) -> list[Field] | None:
    """The parts of a multipart text, each with its name, and the form that its own headers say."""
    marks = list(re.finditer(rf"(?:^|\r?\n)--{re.escape(boundary)}(--)?[ \t]*(?:\r?\n|$)", text))
    if len(marks) < 2 or not marks[-1].group(1):
        return None
    found = []
    for here, there in pairwise(marks):
        head = _HEAD_END.search(text, here.end() - 2, min(there.start() + 4, here.end() + MAX_PART_HEAD))
        if head is None:
            return None
        name = re.search(r'(?i)name="((?:[^"\\]|\\.)*)"', text[here.end() : head.start()])
        kind = re.search(r"(?im)^content-type:\s*([^\r\n]+)", text[here.end() : head.start()])
        filename = re.search(r'(?i)filename="([^"]*)"', text[here.end() : head.start()])
        form = form_of(kind.group(1)) if kind else ("binary" if filename else "text")
        names = (name.group(1) if name else "",)
        start = min(head.end(), there.start())
        found.append(Field(names, start, there.start(), text[start : there.start()], form=form))
    return found


_FORMS = (
    ("json", re.compile(r".*[/+]json$")),
    ("html", re.compile(r"text/html$|application/xhtml\+xml$")),
    ("xml", re.compile(r".*[/+]xml$")),
    ("form", re.compile(r"application/x-www-form-urlencoded$")),
    ("multipart", re.compile(r"multipart/")),
    ("text", re.compile(r"text/|application/(?:javascript|x-ndjson|yaml|graphql)$")),
)


def form_of(content_type: str) -> str:
    """The form that a content type announces; `binary` for what no rule can read, empty for no type."""
    kind = content_type.partition(";")[0].strip().lower()
    return next((form for form, pattern in _FORMS if pattern.match(kind)), "binary" if kind else "")


def guess(text: str) -> str:
    """The form of a value that nothing announces."""
    start = text.lstrip()[:1]
    if start in {"{", "["} and json_fields(text) is not None:
        return "json"
    if start == "<" and xml_fields(text) is not None:
        return "xml"
    if re.fullmatch(r"[\w.%+\[\]-]{1,100}=[^&\s]*(?:&[\w.%+\[\]-]{1,100}=[^&\s]*)*", text):
        return "form"
    if re.match(r"(?:https?://|/)\S*$", text):
        return "url"
    return "text"


PARSERS: dict[str, Callable[[str], list[Field] | None]] = {
    "json": json_fields,
    "xml": xml_fields,
    "html": html_fields,
    "form": form_fields,
    "url": url_fields,
    "cookies": cookie_fields,
    "set-cookie": set_cookie_fields,
}


def _moved(field: Field, offset: int) -> Field:
    return Field(field.names, field.start + offset, field.end + offset, field.value, field.codec, field.number)
