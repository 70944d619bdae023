"""The one entrance: puts every hook in place, in this process and in those forked from it."""

from __future__ import annotations

import atexit
import os
import sys
from typing import Any

from butfor_inject import logs, publishing, raising, recorders, settings
from butfor_inject.boundaries import attempt
from butfor_inject.importing import Hooks

_active = False


def activate() -> bool:
    """Start capturing if the environment asks for it; True if this process captures. Never raises."""
    return bool(attempt("activate", _activate))


def _activate() -> bool:
    global _active  # noqa: PLW0603 - a second activation must find the first
    found = settings.read(os.environ)
    if found is None or _active:
        return _active
    _active = True
    recorder = recorders.start(found)
    process = recorder.process
    if raising.watch_raises():
        process.hooks.append("sys.monitoring:RAISE")
    hooks = Hooks(process.hooks.append)
    _hook_all(hooks)
    attempt("publishing", publishing.start, found, hooks, process.hooks.append)
    sys.meta_path.insert(0, hooks)
    logs.watch_main()
    os.register_at_fork(after_in_child=recorder.forked)
    atexit.register(process.leave)
    process.write()
    return True


def _hook_all(hooks: Hooks) -> None:
    from butfor_inject import contexts

    hooks.add("logging", logs.hook_logging)
    hooks.add("traceback", raising.hook_traceback)
    hooks.add("threading", logs.hook_threading)
    hooks.add("concurrent.futures.thread", contexts.hook_executors)
    hooks.add("anyio.to_thread", contexts.hook_anyio)
    for module, names in LAZY.items():
        for name in names:
            hooks.add(name, _late(module, name))


LAZY = {
    "servers": (
        "uvicorn.config", "hypercorn.app_wrappers", "hypercorn.utils", "daphne.server", "gunicorn.workers.base",
        "gunicorn.workers.gasgi", "waitress.server",
        "waitress.task", "werkzeug.serving", "wsgiref.handlers", "cheroot.wsgi",
        "gevent.pywsgi",
    ),
    "routes": ("starlette.routing", "werkzeug.routing.matcher", "flask.app", "django.core.handlers.base"),
    "aiohttp_servers": ("aiohttp.web_protocol", "aiohttp.http_writer", "aiohttp.streams", "aiohttp.web_fileresponse"),
    "tornado_servers": ("tornado.httpserver", "tornado.web"),
    "sanic_servers": ("sanic.server.protocols.http_protocol", "sanic.response.types"),
    "outgoing": ("http.client",),
    "httpx_clients": ("httpx._transports.default",),
    "aiohttp_clients": ("aiohttp.client",),
    "dbapis": ("sqlite3.dbapi2", "pysqlite3.dbapi2", "psycopg2"),
    "drivers": (
        "psycopg.cursor", "psycopg._server_cursor", "psycopg.server_cursor", "psycopg.cursor_async",
        "psycopg._server_cursor_async", "pymysql.cursors", "MySQLdb.cursors", "asyncpg.connection",
        "asyncpg.prepared_stmt", "aiosqlite.core",
    ),
    "spawning": ("multiprocessing.spawn",),
}  # fmt: skip
"""Which of our modules hooks which of theirs. Ours is loaded when theirs is: a service pays for what it uses."""


def _late(module: str, name: str) -> Any:
    def hook(loaded: Any) -> None:
        from importlib import import_module

        dict(import_module(f"butfor_inject.{module}").HOOKS)[name](loaded)

    hook.__name__ = module
    return hook
