"""What counts as a secret or as personal: names of fields, and forms that values take in any text."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from butfor.capturing.fakes import UUID, is_card, is_iban


def words(text: str) -> frozenset[str]:
    """The words of a list written as text."""
    return frozenset(text.split())


SECRET_WORDS = words(
    "password passwords passwd passphrase passcode pwd secret secrets token tokens apikey auth authorization cookie "
    "cookies session sessionid sid csrf xsrf csrftoken credential credentials signature sig otp totp pin cvv cvc "
    "jwt bearer nonce sessid phpsessid jsessionid passw pass"
)
PERSONAL_WORDS = words(
    "email emails mail phone telephone mobile fax tel iban bic ssn passport birthday birthdate dob surname "
    "firstname lastname fullname street zip postcode forwarded"
)
PAIRS = words(
    "apikey accesskey secretkey privatekey accountkey signingkey encryptionkey authkey accesstoken cardnumber "
    "creditcard ccnumber cardno accountnumber socialsecurity dateofbirth firstname lastname fullname givenname "
    "familyname postalcode zipcode postcode phonenumber emailaddress ipaddress clientip realip connectingip "
    "clientaddress peeraddress forwardedfor sessionid userid_hash connectionstring"
)
HARMLESS = words(
    "token_type tokentype max_tokens total_tokens prompt_tokens completion_tokens token_count tokens_used "
    "token_usage session_count session_duration pass_count auth_type auth_method auth_scheme phone_verified "
    "email_verified cookies_enabled signature_version mail_from_name nonce_size tel_type"
)
"""Names that hold a word of the lists and yet say nothing about a person or an access."""

NUMERIC = words(
    "pin otp totp cvv cvc ssn phone telephone mobile fax tel iban passport zip postcode password passcode pwd"
)
"""Only under these names is a bare number a secret (`tokens: 17` is a count)."""

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SPLIT = re.compile(r"[^A-Za-z0-9]+")


@lru_cache(maxsize=16_384)
def name_words(name: str) -> tuple[str, ...]:
    """The words of a name: `X-Api-Key`, `apiKey` and `api_key` all have `api` and `key`."""
    return tuple(w.lower() for w in _SPLIT.split(_CAMEL.sub("_", name[:200])) if w)


@lru_cache(maxsize=16_384)
def sensitive_name(name: str) -> bool:
    """Whether what stands under this name is a secret or personal, whatever it looks like."""
    words = name_words(name)
    if "_".join(words) in HARMLESS or not words:
        return False
    if set(words) & (SECRET_WORDS | PERSONAL_WORDS):
        return True
    joined = {"".join(words[n : n + k]) for k in (2, 3) for n in range(len(words) - k + 1)}
    return bool(joined & PAIRS or set(words) & PAIRS)


def sensitive_number(name: str) -> bool:
    """Whether a bare number under this name is one."""
    words = name_words(name)
    pairs = {"".join(words[n : n + 2]) for n in range(len(words) - 1)}
    return bool(set(words) & NUMERIC or pairs & PAIRS)


@dataclass(frozen=True)
class Found:
    """A value that a pattern recognised in a text; `start` and `end` are positions in it."""

    start: int
    end: int
    kind: str


@dataclass(frozen=True)
class Pattern:
    """A form of value. `needs`: a text without any of these cannot hold one. `plain`: looked for in code too."""

    kind: str
    expression: re.Pattern[str]
    check: Callable[[str], bool] = bool
    needs: tuple[str, ...] = ()
    group: int = 0
    plain: bool = True


def _entropic(token: str) -> bool:
    """Long, of mixed kinds in no order, as keys and digests are and identifiers and paths are not."""
    if UUID.match(token):
        return False
    kinds = ["d" if c.isdigit() else "u" if c.isupper() else "l" if c.isalpha() else "" for c in token]
    letters = [k for k in kinds if k]
    if len(letters) < 20 or "d" not in letters or len(set(letters)) < 2:
        return False
    changes = sum(a != b for a, b in pairwise(letters)) / len(letters)
    if re.fullmatch(r"[0-9a-f]+|[0-9A-F]+", token):
        return len(token) >= 32 and changes >= 0.2
    longest = max(len(w) for w in re.split(r"[/_.=+-]", token))
    return changes >= (0.28 if longest >= 20 else 0.45) and _entropy(token) >= 3.5


def _entropy(token: str) -> float:
    return -sum(n / len(token) * math.log2(n / len(token)) for n in Counter(token).values())


def _telephone(text: str) -> bool:
    return 8 <= sum(c.isdigit() for c in text) <= 15


PATTERNS = (
    Pattern(
        "private key",
        re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(.{1,8192}?)-----END", re.DOTALL),
        needs=("-----BEGIN",),
        group=1,
    ),
    Pattern("jwt", re.compile(r"(?<![\w-])eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*"), needs=("eyJ",)),
    Pattern("userinfo", re.compile(r"://([^\s/?#@\"'<>]{1,512})@"), needs=("://",), group=1),
    Pattern(
        "email",
        re.compile(r"(?<![\w.+%-])[\w.+-]{1,64}@[A-Za-z0-9][A-Za-z0-9-]{0,62}(?:\.[A-Za-z0-9-]{1,63}){1,6}(?![\w@-])"),
        needs=("@",),
    ),
    Pattern(
        "api key",
        re.compile(
            r"(?<![A-Za-z0-9])(?:AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{20,}|glpat-[\w-]{16,}|sk[-_][\w-]{16,}|"
            r"xox[abprs]-[\w-]{10,}|AIza[\w-]{30,}|npm_[A-Za-z0-9]{20,}|pypi-[\w-]{20,}|hf_[A-Za-z0-9]{20,})"
        ),
        needs=("AKIA", "gh", "glpat-", "sk", "xox", "AIza", "npm_", "pypi-", "hf_"),
    ),
    Pattern(
        "authorization",
        re.compile(r"(?i)\b(?:bearer|basic)\s+([A-Za-z0-9._~+/-]{6,}=*)"),
        needs=("earer", "asic", "EARER", "ASIC"),
        group=1,
        plain=False,
    ),
    Pattern(
        "card",
        re.compile(r"(?<![\w.,])[2-6]\d{3}(?:[ -]?\d){9,15}(?![\w])"),
        lambda t: is_card(t.replace(" ", "").replace("-", "")),
    ),
    Pattern(
        "iban",
        re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Za-z0-9])"),
        lambda t: is_iban(t.replace(" ", "")),
    ),
    Pattern(
        "phone",
        re.compile(r"(?<![\w+.])(?:\+\d[\d ().-]{6,17}\d|\(\d{3}\) ?\d{3}-\d{4}|\d{3}[-. ]\d{3}[-. ]\d{4})(?![\w.])"),
        _telephone,
        plain=False,
    ),
    Pattern("high-entropy", re.compile(r"(?<![A-Za-z0-9+/_=-])[A-Za-z0-9+/_-]{20,}={0,2}"), _entropic, plain=False),
)

_ASSIGNED = re.compile(
    r"""(?<![\w-])["']?([A-Za-z][\w.-]{1,60})["']?\s?(=|:\s?)\s?(?:"([^"\n]{1,4096})"|'([^'\n]{1,4096})'|([^\s"'&;,<>(){}\[\]]{1,4096}))"""
)


def patterns(text: str, *, in_code: bool = False, skip: frozenset[str] = frozenset()) -> Iterator[Found]:
    """What the patterns recognise, in no order; may overlap."""
    for pattern in PATTERNS:
        if (in_code and not pattern.plain) or pattern.kind in skip:
            continue
        if pattern.needs and not any(n in text for n in pattern.needs):
            continue
        for match in pattern.expression.finditer(text):
            if pattern.check(match.group(pattern.group)):
                yield Found(match.start(pattern.group), match.end(pattern.group), pattern.kind)


def assignments(text: str) -> Iterator[tuple[str, int, int]]:
    """`name=value` and `name: value` in running text under a sensitive name: (name, start, end).

    After a colon a bare word is prose (`token: expected`); quoted, or with a digit in it, it is a value.
    """
    for match in _ASSIGNED.finditer(text):
        name, sign = match.group(1), match.group(2)
        if not sensitive_name(name):
            continue
        group = next(n for n in (3, 4, 5) if match.group(n) is not None)
        value = match.group(group)
        if value.isdigit() and not sensitive_number(name):
            continue
        if group == 5 and sign != "=" and not any(c.isdigit() for c in value):
            continue
        yield name, match.start(group), match.end(group)
