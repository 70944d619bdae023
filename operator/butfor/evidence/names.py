"""Normal forms of names, targets and statements: variable parts become `<*>`; pure, no I/O.

Two operations have the same name when only their variable parts differ. Every function is idempotent, keeps
its input's first `LIMIT` characters only, and runs in linear time, since names are what others send.
"""

from __future__ import annotations

import re
from functools import lru_cache

LIMIT = 200
MARK = "<*>"

_UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_VARIABLE = re.compile(
    rf"{_UUID}"
    r"|0x[0-9a-fA-F]+"
    r"|\b(?=[0-9a-fA-F]*[0-9])(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{8,}\b"  # hashes and ids in hex
    r"|[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64}){1,6}"  # addresses
    r"|(?<![A-Za-z_<{])\d+(?:\.\d+)*(?![A-Za-z_}>])"  # numbers, versions; not the 2 of `http2`
)
_TOKEN = re.compile(r"^(?=.*\d)[A-Za-z0-9_\-=%.~]{16,}$")
_SQL_TEXT = re.compile(r"'(?:[^']|'')*'")
_SQL_NUMBER = re.compile(r"(?<![\w<])[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![\w>])")
_SQL_PARAMETER = re.compile(r"%\(\w+\)s|%s|\?\d*|(?<![:\w]):\w+|\$\d+|@p\d+")
_SQL_LIST = re.compile(r"\(\s*<\*>(?:\s*,\s*<\*>)*\s*\)(?:\s*,\s*\(\s*<\*>(?:\s*,\s*<\*>)*\s*\))*")
_SPACE = re.compile(r"\s+")
_FOLDERS = 2
_SUFFIX = re.compile(r"\.[A-Za-z]{1,8}$")
_TEMPLATED = re.compile(r"[{<:]\w*")


@lru_cache(maxsize=65536)
def name(text: str) -> str:
    """A span's name or a message with numbers, ids, addresses and hashes replaced."""
    return _clip(_VARIABLE.sub(MARK, _SPACE.sub(" ", text[: 4 * LIMIT]).strip()))


@lru_cache(maxsize=65536)
def target(text: str) -> str:
    """A request target or URL: scheme, host, query and fragment go; variable path segments become `<*>`."""
    path = text[: 8 * LIMIT].partition("?")[0].partition("#")[0]
    if "://" in path:
        path = "/" + path.split("://", 1)[1].partition("/")[2]
    return _clip("/".join(_segment(part) for part in path.split("/")) or "/")


@lru_cache(maxsize=65536)
def path(text: str) -> str:
    """A file's path by its first folders and its suffix: what lies deeper may be named after anything."""
    parts = target(text).split("/")
    if len(parts) <= _FOLDERS + 1:
        return "/".join(parts)
    suffix = _SUFFIX.search(parts[-1])
    return _clip("/".join([*parts[: _FOLDERS + 1], MARK + (suffix[0] if suffix else "")]))


@lru_cache(maxsize=65536)
def statement(text: str) -> str:
    """A database statement with literals and parameters replaced and lists of them folded."""
    plain = _SQL_TEXT.sub(MARK, _SPACE.sub(" ", text[: 8 * LIMIT]).strip())
    plain = _SQL_NUMBER.sub(MARK, _SQL_PARAMETER.sub(MARK, plain))
    return _clip(_SQL_LIST.sub(f"({MARK})", plain))


def operation(kind: str, text: str, *, method: str, route: str, target_: str, statement_: str) -> tuple[str, str]:
    """Kind (`DB` where there is a statement) and name of the operation that a span is one instance of."""
    if statement_:
        return "DB", statement(statement_)
    if method and (route or target_):
        return kind or "UNSPECIFIED", f"{method[:16]} {target(route or target_)}"
    return kind or "UNSPECIFIED", name(text)


def _segment(part: str) -> str:
    if _TEMPLATED.match(part):
        return part
    return MARK if _TOKEN.match(part) else _VARIABLE.sub(MARK, part)


def _clip(text: str) -> str:
    return text if len(text) <= LIMIT else text[: LIMIT - 1] + "…"
