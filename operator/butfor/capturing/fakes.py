"""Fakes that keep form: the same length, alphabet, punctuation and inner structure as the value they stand for.

A fake depends on the key and the value alone, word by word, so that it is the same in a path, a header and a
body, and inside base64 or a token; without the key nothing can be taken back or compared between captures.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import json
import re
import string
import unicodedata
from collections.abc import Callable
from functools import lru_cache

EMAIL = re.compile(r"^(?=[^@]*\w)([^@\s]+)@(?=[^@]*\w)([^@\s]+?)(\.[A-Za-z]{2,})?$")
JWT = re.compile(r"^(eyJ[A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]*)$")
IBAN = re.compile(r"^[A-Z]{2}\d{2}[A-Z0-9]{8,30}$")
UUID = re.compile(r"^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$")
_BASE64 = re.compile(r"^[A-Za-z0-9+/]{8,}={0,2}$|^[A-Za-z0-9_-]{8,}={0,2}$")
_WORD = re.compile(r"[^\W_]+")
_JSON_VALUE = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?')
_MARKS = "-._~"
_DEPTH = 3


class Faker:
    """Makes fakes with one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def fake(self, value: str, depth: int = 0) -> str:
        """A fake of the same length that is never the value itself (but for an empty one)."""
        plain = value.replace(" ", "").replace("-", "")
        if is_card(plain):
            return _regroup(value, self._card(plain))
        if is_iban(plain):
            return _regroup(value, self._iban(plain))
        for pattern, make in ((EMAIL, self._email), (UUID, self._uuid)):
            found = pattern.match(value)
            if found:
                return make(value)
        if depth < _DEPTH:
            inner = self._token(value, depth) or self._address(value) or self._inside_base64(value, depth)
            if inner is not None and inner != value:
                return inner
        return self.words(value)

    def words(self, value: str) -> str:
        """Each run of letters and digits by its own fake; where there is none, the marks."""
        if not _WORD.search(value):
            return self._drawn(value, lambda _: _MARKS)
        return _WORD.sub(lambda m: self._word(m.group()), value)

    def filler(self, data: bytes) -> bytes:
        """As many bytes, for content that no rule can read."""
        return bytes(self._stream(b"filler" + hmac.digest(self._key, data, "sha256"), len(data))[: len(data)])

    @lru_cache(maxsize=65_536)  # noqa: B019 - a faker lives as long as its capture
    def _word(self, word: str) -> str:
        hexadecimal = len(word) >= 8 and re.fullmatch(r"[0-9a-f]+|[0-9A-F]+", word) is not None
        return self._drawn(word, lambda c: _alphabet(c, hexadecimal=hexadecimal))

    def _drawn(self, word: str, alphabet: Callable[[str], str]) -> str:
        for turn in range(64):
            stream = self._stream(b"%d:" % turn + word.encode("utf-8", "surrogatepass"), 2 * len(word))
            drawn = []
            for n, character in enumerate(word):
                letters = alphabet(character)
                if n == 0 and character in "123456789":
                    letters = letters.replace("0", "")  # a number keeps its length as a number
                drawn.append(letters[(stream[2 * n] << 8 | stream[2 * n + 1]) % len(letters)])
            if "".join(drawn) != word:
                return "".join(drawn)
        return "x" * len(word)

    def _stream(self, seed: bytes, length: int) -> bytearray:
        stream, block = bytearray(), 0
        while len(stream) < length:
            stream += hmac.digest(self._key, block.to_bytes(8, "big") + seed, "sha256")
            block += 1
        return stream

    def _card(self, digits: str) -> str:
        drawn = digits[0] + self._drawn(digits[1:-1], lambda _: string.digits)
        return drawn + luhn_digit(drawn)

    def _iban(self, value: str) -> str:
        account = self.words(value[4:])
        return f"{value[:2]}{98 - _mod97(account + value[:2] + '00'):02d}{account}"

    def _email(self, value: str) -> str:
        found = EMAIL.match(value)
        assert found
        local, domain, top = found.groups()
        return f"{self.words(local)}@{self.words(domain)}{top or ''}"

    def _uuid(self, value: str) -> str:
        """Version and variant stay: some parsers check them."""
        drawn = list(self._drawn(value.replace("-", ""), lambda c: _alphabet(c, hexadecimal=True)))
        drawn[12], drawn[16] = value[14], value[19]
        return _regroup(value, "".join(drawn))

    def _address(self, value: str) -> str | None:
        """An IPv4 address with as many digits in each part."""
        try:
            ipaddress.IPv4Address(value)
        except ValueError:
            return None
        ranges = {1: (1, 9), 2: (10, 99), 3: (100, 255)}
        stream = self._stream(value.encode(), 8)
        parts = []
        for n, part in enumerate(value.split(".")):
            low, high = ranges[len(part)]
            parts.append(str(low + stream[n] % (high - low + 1)))
        return ".".join(parts)

    def _token(self, value: str, depth: int) -> str | None:
        """A JWT: header as it is, string claims faked, signature faked."""
        found = JWT.match(value)
        claims = None if found is None else _decoded(found.group(2))
        if found is None or claims is None or not _is_json(claims):
            return None
        faked = _JSON_VALUE.sub(lambda m: m.group() if m.group(2) else self._claim(m.group(1), depth), claims)
        return ".".join([found.group(1), _encoded(faked, found.group(2), token=True), self.words(found.group(3))])

    def _claim(self, quoted: str, depth: int) -> str:
        text = quoted[1:-1]
        return quoted if "\\" in text or not text else f'"{self.fake(text, depth + 1)}"'

    def _inside_base64(self, value: str, depth: int) -> str | None:
        text = base64_text(value)
        return None if text is None else _encoded(self.fake(text, depth + 1), value)


def base64_text(value: str) -> str | None:
    """The printable text inside base64 (with or without padding), else None."""
    if not _BASE64.match(value):
        return None
    text = _decoded(value)
    return text if text and len(text) >= 6 and text.isprintable() else None


def encode_like(text: str, like: str) -> str:
    """Base64 of a text in the alphabet and with the padding of another encoding."""
    return _encoded(text, like)


def is_card(digits: str) -> bool:
    """13 to 19 digits in a card network's range with a right check digit."""
    return (
        digits.isascii()
        and digits.isdigit()
        and 13 <= len(digits) <= 19
        and digits[0] in "23456"
        and (luhn_digit(digits[:-1]) == digits[-1])
    )


def is_iban(value: str) -> bool:
    """An IBAN without spaces whose check digits are right."""
    return bool(IBAN.match(value)) and _mod97(value[4:] + value[:4]) == 1


def luhn_digit(digits: str) -> str:
    """The check digit that follows these digits."""
    doubled = [int(d) * (2 - n % 2) for n, d in enumerate(reversed(digits))]
    return str(-sum(d - 9 if d > 9 else d for d in doubled) % 10)


def _mod97(value: str) -> int:
    return int("".join(str(int(c, 36)) for c in value)) % 97


def _regroup(value: str, characters: str) -> str:
    """Put characters back between the spaces and dashes of a value."""
    left = iter(characters)
    return "".join(c if c in " -" else next(left) for c in value)


def _decoded(value: str) -> str | None:
    plain = value.rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True).decode()
    except (binascii.Error, ValueError):
        return None


def _encoded(text: str, like: str, *, token: bool = False) -> str:
    encoded = base64.b64encode(text.encode()).decode()
    # padding left out means the alphabet for URLs; where neither padding nor a mark tells, it is the ordinary one
    if token or {"-", "_"} & set(like) or len(like) % 4:
        encoded = encoded.replace("+", "-").replace("/", "_")
    return encoded if like.endswith("=") else encoded.rstrip("=")


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _alphabet(character: str, *, hexadecimal: bool) -> str:
    if character in string.digits:
        return string.digits
    if character in string.ascii_lowercase:
        return "abcdef" if hexadecimal else string.ascii_lowercase
    if character in string.ascii_uppercase:
        return "ABCDEF" if hexadecimal else string.ascii_uppercase
    return _neighbours(character)


@lru_cache(maxsize=4096)
def _neighbours(character: str) -> str:
    """Characters of the same kind that take as many bytes in UTF-8 (the same last six bits' block)."""
    start, kind = ord(character) & ~0x3F, unicodedata.category(character)
    same = [chr(c) for c in range(start, start + 64) if unicodedata.category(chr(c)) == kind]
    return "".join(same) if len(same) > 1 else character
