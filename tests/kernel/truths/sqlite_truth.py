"""A service whose database itself makes calls that fail: in a statement, while its rows are read, and between statements."""

import sqlite3
import sys
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, make_server

from work import fail


class Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        pass


def work(name):
    connection = sqlite3.connect(":memory:")
    connection.create_function("fail", 2, fail)
    fail(name, "before")
    connection.execute(f"SELECT fail('{name}', 'execute')")
    connection.execute(f"SELECT fail('{name}', 'first') UNION ALL SELECT fail('{name}', 'rest')").fetchall()
    connection.executescript(f"SELECT fail('{name}', 'script');")
    fail(name, "after")


def app(environ, start_response):
    name = parse_qs(environ.get("QUERY_STRING", "")).get("id", ["none"])[0]
    if name != "none":
        work(name)
    start_response("200 OK", [("Content-Length", "4")])
    return [b"fine"]


make_server("127.0.0.1", int(sys.argv[1]), app, handler_class=Quiet).serve_forever()
