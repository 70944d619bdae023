"""Drivers that are not called but subclassed: sqlite3 and psycopg2, whose cursors are C and cannot be changed.

A connection is made of a subclass of what the service asked for, its cursors likewise; where that cannot be, because
a factory is no class or has a `cursor` of its own, the connection stays as it is and its statements are not seen.
"""

from __future__ import annotations

import sys
import time
from typing import Any, Callable

from butfor_inject.boundaries import attempt
from butfor_inject.contexts import copied, current
from butfor_inject.statements import Statement, begin, failed

_made: dict[tuple[type, type], type] = {}
_MADE_KEPT = 500
_LARGEST = 2**63


class _Cursor:
    """What a cursor does besides: mixed in before the class that the service asked for."""

    _butfor_system = ""
    _butfor_statement: Statement | None = None

    def execute(self, *arguments: Any, **named: Any) -> Any:
        result, entry = _told(self, super().execute, arguments, named)  # type: ignore[misc]
        if entry is not None:
            self._butfor_statement = entry
        return result

    def executemany(self, *arguments: Any, **named: Any) -> Any:
        result, entry = _told(self, super().executemany, arguments, named)  # type: ignore[misc]
        if entry is not None and len(arguments) > 1 and isinstance(arguments[1], (list, tuple)):
            entry.batch = len(arguments[1])
        return result


def _told(cursor: Any, work: Callable[..., Any], arguments: Any, named: Any) -> tuple[Any, Statement | None]:
    """What `work` gives, and its statement where a request is being served; what it raises goes through."""
    entry = begin(cursor._butfor_system, arguments[0] if arguments else None, cursor)  # noqa: SLF001 - our own mixin's
    if entry is None:
        return work(*arguments, **named), None
    try:
        with entry:
            result = work(*arguments, **named)
    except BaseException as error:
        failed(entry, error)
        raise
    entry.end_ns = time.time_ns()
    count_rows(entry, cursor)
    return result, entry


def _timed(entry: Statement | None, work: Callable[..., Any], *arguments: Any) -> Any:
    """What `work` gives, as `entry` where it is one; nothing is counted."""
    if entry is None:
        return work(*arguments)
    try:
        with entry:
            result = work(*arguments)
    except BaseException as error:
        failed(entry, error)
        raise
    entry.end_ns = time.time_ns()
    return result


class _SqliteCursor(_Cursor):
    """SQLite works while rows are read: a statement lasts until all of them are there."""

    _butfor_system = "sqlite"

    def executescript(self, *arguments: Any) -> Any:
        return _timed(begin("sqlite", arguments[0] if arguments else None), super().executescript, *arguments)  # type: ignore[misc]

    def fetchall(self) -> Any:
        return _read(self, super().fetchall)  # type: ignore[misc]

    def fetchmany(self, *arguments: Any, **named: Any) -> Any:
        return _read(self, super().fetchmany, *arguments, **named)  # type: ignore[misc]


class _PostgresCursor(_Cursor):
    _butfor_system = "postgresql"


def _read(cursor: _Cursor, fetch: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    entry = cursor._butfor_statement  # noqa: SLF001 - ours
    if entry is None or entry.written:
        return fetch(*arguments, **named)
    try:
        with entry:
            rows = fetch(*arguments, **named)
    except BaseException as error:
        failed(entry, error)
        raise
    entry.end_ns = time.time_ns()
    entry.rows = (entry.rows or 0) + len(rows)
    return rows


def count_rows(entry: Statement, cursor: Any) -> None:
    """Take what the driver says: rows that were answered, or rows that were changed."""
    count = cursor.rowcount
    if type(count) is int and 0 <= count < _LARGEST:
        if cursor.description is None:
            entry.affected = count
        elif not isinstance(cursor, _SqliteCursor):
            entry.rows = count


class _SqliteConnection:
    """Every way to a statement, `Connection.execute` too, gets its cursor from `cursor`."""

    _butfor_module: Any = None
    _butfor_cursor: Any = None

    def cursor(self, *arguments: Any, **named: Any) -> Any:
        traced = self._butfor_cursor
        if arguments or named:
            kind = arguments[0] if arguments else named.get("factory")
            traced = attempt("cursor", mixed, _SqliteCursor, kind, self._butfor_module.Cursor)
        if traced is None:
            return super().cursor(*arguments, **named)  # type: ignore[misc]
        return super().cursor(traced)  # type: ignore[misc]

    def commit(self) -> Any:
        entry = begin("sqlite", "COMMIT") if self.in_transaction else None  # type: ignore[attr-defined]
        return _timed(entry, super().commit)  # type: ignore[misc]

    def __exit__(self, *error: object) -> Any:
        """The end of a `with` block, which from CPython 3.11 on does not ask `commit`."""
        if sys.version_info < (3, 11) or not self.in_transaction:  # type: ignore[attr-defined]
            return super().__exit__(*error)  # type: ignore[misc]
        entry = begin("sqlite", "COMMIT" if error[:1] in ((), (None,)) else "ROLLBACK")
        return _timed(entry, super().__exit__, *error)  # type: ignore[misc]


def _through_cursor(name: str) -> Callable[..., Any]:
    """`Connection.execute` and the like, which from CPython 3.11 on do not ask `cursor`."""

    def method(self: Any, *arguments: Any) -> Any:
        if current.get() is None:
            return getattr(super(_SqliteConnection, self), name)(*arguments)
        return getattr(self.cursor(), name)(*arguments)

    return method


_SHORTCUTS = {name: _through_cursor(name) for name in ("execute", "executemany", "executescript")}


class _PostgresConnection:
    """A cursor's class may be named by the call, else by the connection."""

    def cursor(self, *arguments: Any, **named: Any) -> Any:
        plain = sys.modules["psycopg2.extensions"].cursor
        kind = arguments[1] if len(arguments) > 1 else named.get("cursor_factory")
        kind = kind or self.cursor_factory or plain  # type: ignore[attr-defined]
        traced = attempt("cursor", mixed, _PostgresCursor, kind, plain)
        if traced is None:
            return super().cursor(*arguments, **named)  # type: ignore[misc]
        if len(arguments) > 1:
            return super().cursor(arguments[0], traced, *arguments[2:], **named)  # type: ignore[misc]
        return super().cursor(*arguments, **{**named, "cursor_factory": traced})  # type: ignore[misc]


def mixed(mixin: type, kind: Any, plain: type, more: dict[str, Any] | None = None) -> type | None:
    """A class that is `kind`, and does what `mixin` and `more` add; None where `kind` is not one of `plain`'s.

    What `kind` does in its own way instead of `plain`'s is not replaced by `more`.
    """
    if not isinstance(kind, type) or not issubclass(kind, plain):
        return None
    if issubclass(kind, mixin):
        return kind
    made = _made.get((mixin, kind))
    if made is None:
        names = {name: kind.__dict__.get(name) for name in ("__module__", "__doc__")}
        own = {name for name in more or () if getattr(kind, name, None) is not getattr(plain, name, None)}
        names.update({name: value for name, value in (more or {}).items() if name not in own})
        metaclass: Any = type(kind)
        made = metaclass(kind.__name__, (mixin, kind), {**names, "__qualname__": kind.__qualname__})
        if len(_made) < _MADE_KEPT:
            _made[mixin, kind] = made
    return made


def _mixed_connection(mixin: type, kind: Any, plain: Any, more: dict[str, Any]) -> type | None:
    """As `mixed`; a class that makes its cursors in its own way keeps it."""
    if isinstance(kind, type) and issubclass(kind, plain) and getattr(kind, "cursor", None) is plain.cursor:
        return mixed(mixin, kind, plain, more)
    return None


def sqlite(module: Any) -> None:
    """sqlite3.dbapi2, and pysqlite3.dbapi2, which is the same."""
    original, plain, place = module.connect, module.Connection, 5
    more = {
        **{name: copied(one, getattr(plain, name)) for name, one in _SHORTCUTS.items()},
        "_butfor_module": module, "_butfor_cursor": mixed(_SqliteCursor, module.Cursor, module.Cursor),
    }  # fmt: skip

    def connect(*arguments: Any, **named: Any) -> Any:
        given = arguments[place] if len(arguments) > place else named.get("factory", plain)
        traced = attempt("connect", _mixed_connection, _SqliteConnection, given, plain, more)
        if traced is None:
            return original(*arguments, **named)
        if len(arguments) > place:
            return original(*arguments[:place], traced, *arguments[place + 1 :], **named)
        return original(*arguments, **{**named, "factory": traced})

    _replace(module, copied(connect, original), original)


def psycopg2(module: Any) -> None:
    """psycopg2."""
    original, plain = module.connect, module.extensions.connection

    def connect(*arguments: Any, **named: Any) -> Any:
        given = arguments[1] if len(arguments) > 1 else named.get("connection_factory")
        traced = attempt("connect", _mixed_connection, _PostgresConnection, given or plain, plain, {})
        if traced is None:
            return original(*arguments, **named)
        if len(arguments) > 1:
            return original(arguments[0], traced, *arguments[2:], **named)
        return original(*arguments, **{**named, "connection_factory": traced})

    _replace(module, copied(connect, original), original)


def _replace(module: Any, connect: Any, original: Any) -> None:
    """Where the package took its submodule's function already, there too."""
    places: list[Any] = [module, sys.modules.get(module.__name__.partition(".")[0])]
    for place in places:
        if place is not None and getattr(place, "connect", None) is original:
            place.connect = connect


HOOKS = [("sqlite3.dbapi2", sqlite), ("pysqlite3.dbapi2", sqlite), ("psycopg2", psycopg2)]
