"""Database drivers whose classes are Python: psycopg, PyMySQL, mysqlclient, asyncpg, aiosqlite."""

from __future__ import annotations

import time
from typing import Any

from butfor_inject import contexts
from butfor_inject.boundaries import attempt
from butfor_inject.contexts import copied
from butfor_inject.dbapis import count_rows
from butfor_inject.statements import Statement, begin, failed


def _begin(system: str, caller: Any, arguments: Any, named: Any) -> Statement | None:
    """None also for a statement that the driver makes while it works on another of this caller."""
    exchange = contexts.current.get()
    if exchange is None or (exchange.statements is not None and id(caller) in exchange.statements.inside):
        return None
    words = arguments[0] if arguments else named.get("query", named.get("command"))
    entry = begin(system, words, caller)
    if entry is not None and exchange.statements is not None:
        exchange.statements.inside.add(id(caller))
    return entry


def _end(entry: Statement, caller: Any, error: BaseException | None, result: Any = None) -> None:
    if error is not None:
        failed(entry, error)
    else:
        entry.end_ns = time.time_ns()
        if isinstance(result, list):
            entry.rows = len(result)
        elif hasattr(caller, "rowcount"):
            count_rows(entry, caller)
    exchange = contexts.current.get()
    if exchange is not None and exchange.statements is not None:
        exchange.statements.inside.discard(id(caller))


def _watch(owner: Any, system: str, *names: str) -> None:
    """Methods that take a statement first."""
    for name in names:
        original = owner.__dict__.get(name)
        if original is not None:
            setattr(owner, name, copied(_sync(system, original), original))


def _sync(system: str, original: Any) -> Any:
    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        entry = attempt("statement", _begin, system, self, arguments, named)
        if entry is None:
            return original(self, *arguments, **named)
        try:
            with entry:
                result = original(self, *arguments, **named)
        except BaseException as error:
            attempt("statement", _end, entry, self, error)
            raise
        attempt("statement", _end, entry, self, None)
        return result

    return method


def _watch_async(owner: Any, system: str, *names: str) -> None:
    for name in names:
        original = owner.__dict__.get(name)
        if original is not None:
            setattr(owner, name, copied(_async(system, original), original))


def _async(system: str, original: Any) -> Any:
    async def method(self: Any, *arguments: Any, **named: Any) -> Any:
        entry = attempt("statement", _begin, system, self, arguments, named)
        if entry is None:
            return await original(self, *arguments, **named)
        try:
            with entry:
                result = await original(self, *arguments, **named)
        except BaseException as error:
            attempt("statement", _end, entry, self, error)
            raise
        attempt("statement", _end, entry, self, None, result)
        return result

    return method


def psycopg_cursor(module: Any) -> None:
    """psycopg.cursor and psycopg._server_cursor."""
    for name in ("Cursor", "ServerCursor"):
        if (owner := getattr(module, name, None)) is not None:
            _watch(owner, "postgresql", "execute", "executemany")


def psycopg_async(module: Any) -> None:
    """psycopg.cursor_async and psycopg._server_cursor_async."""
    for name in ("AsyncCursor", "AsyncServerCursor"):
        if (owner := getattr(module, name, None)) is not None:
            _watch_async(owner, "postgresql", "execute", "executemany")


def pymysql(module: Any) -> None:
    """pymysql.cursors."""
    _watch(module.Cursor, "mysql", "execute", "executemany")
    _watch(module.SSCursor, "mysql", "execute", "executemany")


def mysqldb(module: Any) -> None:
    """MySQLdb.cursors."""
    _watch(module.BaseCursor, "mysql", "execute", "executemany")


def asyncpg(module: Any) -> None:
    """asyncpg.connection; its pools pass calls on to the class."""
    names = ("execute", "executemany", "fetch", "fetchval", "fetchrow", "fetchmany")
    _watch_async(module.Connection, "postgresql", *names)


def asyncpg_prepared(module: Any) -> None:
    """asyncpg.prepared_stmt, whose statement is known to the object."""
    for name in ("fetch", "fetchval", "fetchrow", "fetchmany", "executemany"):
        original = module.PreparedStatement.__dict__.get(name)
        if original is not None:
            setattr(module.PreparedStatement, name, copied(_prepared(original), original))


def _prepared(original: Any) -> Any:
    async def method(self: Any, *arguments: Any, **named: Any) -> Any:
        entry = begin("postgresql", attempt("statement", self.get_query))
        if entry is None:
            return await original(self, *arguments, **named)
        try:
            with entry:
                result = await original(self, *arguments, **named)
        except BaseException as error:
            failed(entry, error)
            raise
        attempt("statement", _end, entry, self, None, result)
        return result

    return method


def aiosqlite(module: Any) -> None:
    """aiosqlite.core: its thread works for the request that asks; the statements are sqlite3's."""
    original = module.Connection._execute  # noqa: SLF001 - there is no public door

    async def _execute(self: Any, fn: Any, *arguments: Any, **named: Any) -> Any:
        exchange = contexts.current.get()
        if exchange is None:
            return await original(self, fn, *arguments, **named)
        return await original(self, contexts.carried, exchange, fn, *arguments, **named)

    module.Connection._execute = copied(_execute, original)  # noqa: SLF001


HOOKS = [
    ("psycopg.cursor", psycopg_cursor), ("psycopg._server_cursor", psycopg_cursor),
    ("psycopg.server_cursor", psycopg_cursor), ("psycopg.cursor_async", psycopg_async),
    ("psycopg._server_cursor_async", psycopg_async), ("pymysql.cursors", pymysql), ("MySQLdb.cursors", mysqldb),
    ("asyncpg.connection", asyncpg), ("asyncpg.prepared_stmt", asyncpg_prepared), ("aiosqlite.core", aiosqlite),
]  # fmt: skip
