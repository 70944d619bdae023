"""A WSGI service on sqlite3, used in the ways that services use it: `python database_app.py PORT`."""

from __future__ import annotations

import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from wsgiref.simple_server import make_server


class Own(sqlite3.Connection):
    """A factory of the service's own."""


class Handmade(sqlite3.Connection):
    """Makes its cursors in its own way, and takes no factory."""

    def cursor(self):
        return super().cursor()


class Shouting(sqlite3.Cursor):
    """A cursor of the service's own."""

    def execute(self, sql, *rest):
        return super().execute(sql.upper(), *rest)


DATABASE = sqlite3.connect(":memory:", check_same_thread=False)
DATABASE.executescript("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT UNIQUE); INSERT INTO item VALUES (1, 'a')")
POOL = ThreadPoolExecutor(1)


def _one_per_item():
    for number in range(7):
        DATABASE.execute("SELECT name FROM item WHERE id = ?", (number,)).fetchone()
    return "done"


def _rows():
    DATABASE.executemany("INSERT INTO item (name) VALUES (?)", [("secret-b",), ("secret-c",)])
    DATABASE.execute("UPDATE item SET name = name || '!'")
    DATABASE.commit()
    cursor = DATABASE.cursor()
    cursor.row_factory = sqlite3.Row
    cursor.execute("SELECT name FROM item")
    return repr([row["name"] for row in cursor.fetchmany(2)] + [row["name"] for row in cursor.fetchall()])


def _failing():
    try:
        DATABASE.execute("INSERT INTO item (name) VALUES (?)", ("a",))
        DATABASE.execute("INSERT INTO item (name) VALUES (?)", ("a",))
    except sqlite3.IntegrityError as error:
        return str(error)
    finally:
        DATABASE.rollback()
    return "no error"


def _factories():
    kinds = []
    for factory in (Own, Handmade, lambda *given, **_: Own(*given)):
        connection = sqlite3.connect(":memory:", factory=factory)
        kinds.append(isinstance(connection, (Own, Handmade)) and connection.execute("SELECT 2").fetchone() == (2,))
    shouting = DATABASE.cursor(Shouting)
    kinds.append(isinstance(shouting, Shouting) and shouting.execute("select 3").fetchall() == [(3,)])
    return repr(kinds)


def _in_pool():
    return repr(POOL.submit(lambda: DATABASE.execute("SELECT 4").fetchone()).result())


def _many():
    for number in range(1200):
        DATABASE.execute("SELECT ?", (number,))
    return "done"


def _wrong():
    try:
        DATABASE.execute(5)
    except (TypeError, ValueError) as error:
        return type(error).__name__
    return "no error"


WAYS = {
    "/one-per-item": _one_per_item, "/rows": _rows, "/failing": _failing, "/factories": _factories,
    "/in-pool": _in_pool, "/many": _many, "/wrong": _wrong,
}  # fmt: skip


def application(environ, start_response):
    body = WAYS.get(environ["PATH_INFO"], lambda: "ready")().encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]


if __name__ == "__main__":
    make_server("127.0.0.1", int(sys.argv[1]), application).serve_forever()
