"""Rewriting a text: every secret in it by its fake, every other character as it was."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

from butfor.capturing.fakes import Faker, base64_text, encode_like
from butfor.capturing.sensitivities import assignments, patterns, sensitive_name, sensitive_number
from butfor.capturing.structures import PARSERS, Field, encode, guess, multipart_fields
from butfor.capturing.vocabularies import Vocabulary

MAX_DEPTH = 4
"""Of forms inside forms (JSON in base64 in a form field, and so on)."""
GUESSED_CHARACTERS = 2**20
INHERITED = frozenset({"secret", "secrets", "credential", "credentials", "cookie", "cookies", "password", "passwords"})
"""What stands below these names is secret whatever its own name says."""

_BASE64 = re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_-]{12,}={0,2}(?![A-Za-z0-9+/_=-])")
_TRIVIAL = re.compile(r"(?i)(?:true|false|null|none|undefined|127\.\d+\.\d+\.\d+|0\.0\.0\.0|::1|localhost|\s*)$")


class UnreadableError(ValueError):
    """A text is not what its type says, so the rules for it cannot be applied."""


@dataclass(frozen=True)
class Edit:
    """`text[start:end]` stands for `value` and becomes `replacement`; an empty label changes nothing (a shield)."""

    start: int
    end: int
    value: str
    replacement: str
    label: str


class Rewriter:
    """Finds and replaces; `labels` says by field or kind what was replaced since it was last cleared."""

    def __init__(self, key: bytes, allowed: Iterable[str]) -> None:
        self.faker = Faker(key)
        self.vocabulary = Vocabulary(self.faker)
        self.allowed = frozenset(name.lower() for name in allowed)
        self.learning = True
        self.labels: dict[str, int] = {}

    def rewrite(
        self, text: str, form: str = "text", *, boundary: str = "", in_code: bool = False, depth: int = 0
    ) -> str:
        """The text with its secrets replaced; UnreadableError where it is not of its form."""
        if not text:
            return text
        firm = self._field_edits(self._fields(text, form, boundary), text, depth)
        loose = self._loose_edits(text, form, in_code=in_code, depth=depth)
        known = self._known(text)
        written = self._apply(text, _joined([*(e for e in firm if e.label), *known, *_outside(loose, firm)]))
        again = self._known(written) if depth == 0 and known else []
        return self._apply(written, _joined(again)) if again else written

    def _known(self, text: str) -> list[Edit]:
        """Known secrets, exactly as they are written in this text."""
        if self.learning:
            return []
        hits = self.vocabulary.hits(text)
        return [Edit(h.start, h.end, text[h.start : h.end], h.replacement, "known") for h in hits]

    def replace(self, value: str, label: str) -> str:
        """The fake of a value that is a secret by its place, unless its release was asked for."""
        if not value or _TRIVIAL.match(value):
            return value
        if self.is_allowed(label):
            self.vocabulary.released.add(value)
            return value
        return self._note(value, self.faker.fake(value), label)

    def is_allowed(self, *names: str) -> bool:
        """Whether one of these names is on the allowlist."""
        return any(n.lower() in self.allowed for n in names)

    def _note(self, value: str, replacement: str, label: str) -> str:
        self.labels[label] = self.labels.get(label, 0) + 1
        if self.learning:
            self.vocabulary.learn(value)
        return replacement

    def _fields(self, text: str, form: str, boundary: str) -> list[Field]:
        if form in {"text", ""} or (form not in PARSERS and form != "multipart"):
            return []
        fields = multipart_fields(text, boundary) if form == "multipart" else PARSERS[form](text)
        if fields is None:
            raise UnreadableError(form)
        if self.learning:
            self.vocabulary.names.update(f.names[0].lower() for f in fields if f.names)
        return fields

    def _field_edits(self, fields: list[Field], text: str, depth: int) -> list[Edit]:
        edits = []
        for field in fields:
            raw = text[field.start : field.end]
            edit = self._field_edit(field, raw, depth)
            if edit is not None and field.start < field.end:
                edits.append(edit)
        return edits

    def _field_edit(self, field: Field, raw: str, depth: int) -> Edit | None:
        shield = Edit(field.start, field.end, field.value, raw, "")
        if self.is_allowed(*field.names[:1]):
            self.vocabulary.released.add(field.value)
            return shield
        label = _label(field)
        if label and not _TRIVIAL.match(field.value) and not self.vocabulary.is_released(field.value):
            fake = self.faker.fake(field.value)
            return Edit(field.start, field.end, field.value, encode(fake, raw, field.codec), label)
        if field.form == "binary" and not _readable(field.value):
            filler = self.faker.filler(raw.encode("latin-1", "replace")).decode("latin-1")
            return Edit(field.start, field.end, "", filler, f"{field.names[0]} (no readable text)")
        inner = self._inner(field, raw, depth)
        if inner is not None and inner != field.value:
            return Edit(field.start, field.end, "", encode(inner, raw, field.codec), "inside")
        return shield if raw != field.value else None

    def _inner(self, field: Field, raw: str, depth: int) -> str | None:
        """A value that has a form of its own, rewritten in that form."""
        if depth >= MAX_DEPTH or field.number:
            return None
        form = field.form
        if form in {"text", ""} and len(field.value) <= GUESSED_CHARACTERS:
            form = guess(field.value)
        if form in {"text", "", "binary", "multipart"} and raw == field.value:
            return None  # found by looking at the whole text
        return self.rewrite(field.value, form if form in PARSERS else "text", depth=depth + 1)

    def _loose_edits(self, text: str, form: str, *, in_code: bool, depth: int) -> list[Edit]:
        edits = [self._fake(text, f.start, f.end, f.kind) for f in patterns(text, in_code=in_code, skip=self.allowed)]
        if in_code:
            return edits
        if form in {"text", "html", ""}:
            edits += [
                self._fake(text, start, end, name)
                for name, start, end in assignments(text)
                if not self.is_allowed(name) and not _TRIVIAL.match(text[start:end])
            ]
        return edits + self._base64_edits(text, depth)

    def _fake(self, text: str, start: int, end: int, label: str) -> Edit:
        value = text[start:end]
        return Edit(start, end, value, self.faker.fake(value), label)

    def _base64_edits(self, text: str, depth: int) -> list[Edit]:
        edits: list[Edit] = []
        if depth >= MAX_DEPTH:
            return edits
        for match in _BASE64.finditer(text):
            inside = base64_text(match.group())
            inner = inside and self.rewrite(inside, guess(inside), depth=depth + 1)
            if inside and inner and inner != inside:
                edits.append(Edit(match.start(), match.end(), "", encode_like(inner, match.group()), "inside base64"))
        return edits

    def _apply(self, text: str, edits: list[Edit]) -> str:
        parts, last = [], 0
        for edit in edits:
            if self.vocabulary.is_released(edit.value):
                continue
            self._note(edit.value, edit.replacement, edit.label)
            parts += [text[last : edit.start], edit.replacement]
            last = edit.end
        return "".join([*parts, text[last:]]) if parts else text


def _label(field: Field) -> str:
    """The name that makes a field's value secret; empty where none does."""
    for n, name in enumerate(field.names):
        if n == 0 and sensitive_name(name) and (sensitive_number(name) or not _is_number(field)):
            return name
        if n > 0 and name.lower() in INHERITED and not field.number:
            return field.names[0] or name
    return ""


def _is_number(field: Field) -> bool:
    return field.number or field.value.isdigit()


def _outside(loose: list[Edit], firm: list[Edit]) -> list[Edit]:
    """Loose edits that touch no field that was decided (or is written with escapes)."""
    spans = sorted((e.start, e.end) for e in firm)
    begins = [start for start, _ in spans]
    free = []
    for edit in loose:
        n = bisect_right(begins, edit.start)
        before = n > 0 and spans[n - 1][1] > edit.start
        after = n < len(spans) and spans[n][0] < edit.end
        if not before and not after:
            free.append(edit)
    return free


def _joined(edits: list[Edit]) -> list[Edit]:
    """Edits that do not overlap: of nested ones the widest; of two that cross, the second covers its own tail."""
    kept: list[Edit] = []
    for edit in sorted(edits, key=lambda e: (e.start, -e.end, e.label == "known")):
        if not kept or edit.start >= kept[-1].end:
            kept.append(edit)
        elif edit.end > kept[-1].end and edit.value and len(edit.value) == edit.end - edit.start:
            cut = kept[-1].end - edit.start
            kept.append(Edit(kept[-1].end, edit.end, edit.value[cut:], edit.replacement[cut:], edit.label))
    return kept


def _readable(text: str) -> bool:
    sample = text[:65536]
    return "\x00" not in text and sum(c.isprintable() or c in "\r\n\t" for c in sample) >= 0.99 * len(sample)
