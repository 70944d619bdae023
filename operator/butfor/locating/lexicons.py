"""Words: the tokens of statements, how telling each is, and what exception families are about.

An exception family joins the classes that one check prevents (`is_file` for a missing file, `in` for a missing
key) with the words that configuration and code use for it; nothing here names a project.
"""

from __future__ import annotations

import ast
import builtins
import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus

from butfor.locating.syntax import walk

WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
PART = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
LONGEST_STRING = 80
_COMMON = (
    "self cls args kwargs none true false return await async def if else elif for in not and or is with as try except "
    "raise from import lambda yield class str int bytes list dict tuple set bool len type isinstance the a an of to "
    "object name value key data path get append items join format print super result results response request"
)
COMMON = frozenset(_COMMON.split())


@dataclass(frozen=True)
class Family:
    """`words` in an exception's name pick the family; `checks` prevent it; `causes` are what tunes it."""

    name: str
    words: frozenset[str]
    checks: frozenset[str]
    causes: frozenset[str] = frozenset()


def _family(name: str, words: str, checks: str, causes: str = "") -> Family:
    return Family(name, frozenset(words.split()), frozenset(checks.split()), frozenset(causes.split()))


FAMILIES = (
    _family(
        "timeout",
        "timeout deadline",
        "timeout wait_for shield suppress",
        "timeout deadline seconds ms delay retry",
    ),
    _family(
        "connection",
        "connection connect refused reset broken pipe network disconnected disconnect",
        "is_disconnected closed retry",
        "host port url address socket keepalive retry",
    ),
    _family(
        "file",
        "file directory found exists permission os io",
        "isfile isdir exists lexists issymlink islink access stat resolve sisreg mkdir",
        "path root directory folder file",
    ),
    _family(
        "lookup", "key index lookup attribute missing", "get in hasattr getattr setdefault pop len none isinstance"
    ),
    _family("type", "type value assertion validation", "none isinstance callable int str float bool or issubclass"),
    _family(
        "text",
        "unicode decode encode encoding",
        "decode encode errors isascii ignore replace",
        "charset encoding utf latin ascii",
    ),
    _family(
        "exhausted",
        "memory recursion exhausted resource pool full overflow too large limit",
        "maxsize limit len max min",
        "limit max min size pool capacity depth",
    ),
    _family(
        "constraint",
        "integrity constraint unique operational database sql programming",
        "unique exists none",
        "unique null foreign primary references default table column index schema",
    ),
    _family("cancelled", "cancelled cancel closed shutdown state runtime", "done cancelled closed isclosing shield"),
)


_SORTS = {
    "text beyond ASCII": "charset encoding encode decode errors unicode utf latin ascii quote unquote bytes",
    "empty text": "empty blank strip none default",
    "null": "none null default optional",
    "absent": "none default optional missing",
    "negative number": "abs min max range negative signed",
    "body.size": "size length limit max large buffer chunk stream memory",
    "path.segments": "path route mount prefix segment",
}
"""What code is concerned with that treats a sort of value apart."""


def concerns(*sorts: str) -> list[str]:
    """The words of code that treats values of these sorts, or sizes of these places, apart."""
    return [word for sort in sorts for word in _SORTS.get(sort, "").split()]


def parts(word: str) -> list[str]:
    """The lower-case parts of a snake_case or CamelCase word."""
    return [part.lower() for part in PART.findall(word)]


def families_of(types: Iterable[str]) -> list[Family]:
    """The families that exception classes belong to, by the words of their names and of their built-in bases."""
    words = {p for t in types for base in ancestry(t) for p in parts(base)} - {"error", "exception", "base"}
    return [family for family in FAMILIES if family.words & words]


def ancestry(exception: str) -> list[str]:
    """An exception's class name and its built-in bases' (the name alone for a class that is not built in)."""
    name = exception.rsplit(".", 1)[-1]
    known = getattr(builtins, name, None)
    if not (isinstance(known, type) and issubclass(known, BaseException)):
        return [name]
    return [base.__name__ for base in known.__mro__ if base is not object]


def status_words(status: int | None) -> list[str]:
    """How code writes an HTTP status: its number and its phrase as one word, e.g. `404`, `notfound`."""
    if status is None or status not in set(HTTPStatus):
        return []
    return [str(status), re.sub(r"[^A-Za-z]", "", HTTPStatus(status).phrase).lower()]


def tokens(node: ast.AST) -> list[str]:
    """Names, attributes, keyword names, and word-like string constants of a syntax tree, as they stand."""
    found: list[str] = []
    for child in walk(node):
        match child:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.keyword(arg=str(name)) | ast.arg(arg=name):
                found.append(name)
            case ast.Constant(value=str(text)) if len(text) <= LONGEST_STRING:
                found.extend(WORD.findall(text) if " " in text else [text])
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.append(name)
    return found


def words(text: str) -> list[str]:
    """The words of a text that is no Python."""
    return WORD.findall(text)


def fold(word: str) -> str:
    """One spelling for `chargeTimeout`, `charge_timeout`, `CHARGE_TIMEOUT` and `charge-timeout`."""
    return re.sub(r"[^a-z0-9]", "", word.lower())


@dataclass
class Telling:
    """How telling a word is: 1 where one document of many has it, near 0 where all do or it is a common word."""

    documents: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, document: Iterable[str]) -> None:
        """Count the words of one document (a region, a commit)."""
        self.documents += 1
        self.counts.update({fold(word) for word in document})

    def __call__(self, word: str) -> float:
        """The inverse document frequency of a word, scaled to 0..1."""
        folded = fold(word)
        if len(folded) < 2 or folded in COMMON or self.documents == 0:
            return 0.0
        rare = math.log((1 + self.documents) / (1 + self.counts[folded]))
        return max(0.0, rare / math.log(1 + self.documents))
