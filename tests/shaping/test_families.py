from __future__ import annotations

import builtins
import errno
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butfor.evidence import families, names

TREE = set(re.findall(r"[a-z_]+", (families.__doc__ or "").split("\n\n")[1]))


@pytest.mark.parametrize(
    ("kind", "message", "family"),
    [
        ("sqlite3.OperationalError", "database is locked", "conflict.lock"),
        ("sqlite3.OperationalError", "no such table: gone", "not_found.table"),
        ("sqlite3.OperationalError", 'near "form": syntax error', "syntax.sql"),
        ("sqlite3.IntegrityError", "UNIQUE constraint failed: a.b", "constraint.unique"),
        ("OSError", "[Errno 28] No space left on device", "exhausted.disk"),
        ("OSError", "[Errno 24] Too many open files", "exhausted.files"),
        ("OSError", "[Errno 98] address already in use", "conflict.address"),
        ("RuntimeError", "can't start new thread", "exhausted.processes"),
        ("sqlalchemy.exc.TimeoutError", "QueuePool limit of size 5 overflow 10 reached", "exhausted.pool"),
        ("httpx.ReadTimeout", "", "timeout.read"),
        ("asyncio.exceptions.TimeoutError", "", "timeout"),
        ("requests.exceptions.ConnectionError", "[Errno 111] Connection refused", "connection.refused"),
        ("aiohttp.client_exceptions.ServerDisconnectedError", "Server disconnected", "connection.closed"),
        ("socket.gaierror", "[Errno -2] Name or service not known", "connection.name"),
        ("TypeError", "'NoneType' object is not subscriptable", "type.none"),
        ("TypeError", "f() got an unexpected keyword argument 'x'", "type.arguments"),
        ("TypeError", "Cannot read properties of undefined (reading 'x')", "type.none"),
        ("json.decoder.JSONDecodeError", "Expecting value", "value.decode"),
        ("jinja2.exceptions.TemplateNotFound", "a.html", "not_found.template"),
        ("app.errors.PaymentNotFoundError", "", "not_found"),
        ("java.net.SocketTimeoutException", "connect timed out", "timeout"),
        ("java.lang.NullPointerException", "", "type.none"),
        ("NotADirectoryError", "[Errno 20] Not a directory: 'a/b'", "path"),
        ("ModuleNotFoundError", "No module named 'x'", "not_found.import"),
        ("Weird", "nothing known", "unknown"),
        ("", "", "unknown"),
    ],
)
def test_known_failures_have_their_family(kind, message, family):
    assert families.family([kind], message) == family


def test_the_innermost_member_of_a_chain_decides_where_it_says_something():
    assert families.family(["ConnectionRefusedError", "app.PaymentError"], "") == "connection.refused"
    assert families.family(["app.Oddity", "TimeoutError"], "") == "timeout"


@pytest.mark.parametrize("name", sorted(n for n, c in vars(builtins).items()
                                        if isinstance(c, type) and issubclass(c, Exception)
                                        and not issubclass(c, Warning)))  # fmt: skip
def test_every_builtin_exception_has_a_family_but_those_that_say_nothing(name):
    silent = {"Exception", "SystemError", "ExceptionGroup"}
    assert (families.family([name]) == families.UNKNOWN) is (name in silent)


@pytest.mark.parametrize("code", ["ENOENT", "ECONNREFUSED", "ENOSPC", "EMFILE", "EPIPE", "ETIMEDOUT", "EACCES"])
def test_an_errno_counts_by_number_and_by_name(code):
    by_number = families.family(["OSError"], f"[Errno {getattr(errno, code)}] x")
    assert by_number == families.family(["OSError"], f"{code}: x") != "io"


def test_every_family_that_is_given_stands_in_the_documented_tree():
    given_ones = {*families._ERRNOS.values(), *families._NAMES.values(), *families._BUILTINS.values(),
                  *(f for _, f in families._MESSAGES), *(f for _, f in families._WORDS)}  # fmt: skip
    assert {part for family in given_ones for part in family.split(".")} <= TREE


@pytest.mark.parametrize(("family", "ancestor", "held"), [
    ("timeout.read", "timeout", True), ("timeout", "timeout", True), ("timeouts", "timeout", False),
    (None, "timeout", False), ("timeout", "timeout.read", False),
])  # fmt: skip
def test_is_a_follows_the_tree(family, ancestor, held):
    assert families.is_a(family, ancestor) is held


@given(st.text(max_size=60), st.text(max_size=300))
def test_any_text_has_a_family(kind, message):
    assert families.family([kind], message)


@pytest.mark.parametrize(("text", "normal"), [
    ("GET /users/123/x", "GET /users/<*>/x"), ("http2 call a3f9b2c1d4", "http2 call <*>"),
    ("job 550e8400-e29b-41d4-a716-446655440000", "job <*>"), ("  two   spaces ", "two spaces"),
    ("mail ann@example.org", "mail <*>"), ("decade", "decade"),
])  # fmt: skip
def test_names_lose_numbers_ids_and_addresses(text, normal):
    assert names.name(text) == normal


@pytest.mark.parametrize(("text", "normal"), [
    ("http://h:80/a/123/b?x=1#y", "/a/<*>/b"), ("/static/app.js/chunk.js", "/static/app.js/chunk.js"),
    ("/users/{id}", "/users/{id}"), ("/users/<int:id>", "/users/<int:id>"), ("", "/"),
    ("/t/eyJhbGciOiJIUzI1NiJ9abc", "/t/<*>"),
])  # fmt: skip
def test_targets_lose_variable_segments_and_queries(text, normal):
    assert names.target(text) == normal


@pytest.mark.parametrize("text", [
    "select * from t where a in (1, 2, 3) and b = 'x'", "select * from t where a in (?,?) and b = ?",
    "SELECT * FROM t".lower() + " where a in ($1) and b = 'it''s'", "select * from t where a in (%s, %s) and b = :b",
])  # fmt: skip
def test_statements_that_differ_in_values_alone_are_one(text):
    assert names.statement(text) == "select * from t where a in (<*>) and b = <*>"


@given(st.text(max_size=500))
def test_normal_forms_are_bounded_and_stay_as_they_are(text):
    for normal in (names.name, names.target):
        once = normal(text)
        assert len(once) <= names.LIMIT
        assert normal(once) == once
