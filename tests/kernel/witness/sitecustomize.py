"""A shop's own account of what each of its threads works for; it knows OpenTelemetry's API, asyncio, servers and sockets.

Found through PYTHONPATH by a service's interpreter. SHOP_TRUTH names the folder that gets `truth-PID.jsonl`, rows of

    ["works", thread, before, after, trace id, span id, request]
        From then on for this span (empty ids: for none), and for this request (0: for none).
    ["answers", thread, before, after, request, trace id, span id]
        The server span of a request; of a service without a tracer the ids of the request's caller.
    ["sends", thread, before, after, local, remote]
        Something was sent on a connection, or that was begun.
    ["asks", thread, before, after, statement]
        A database is asked; empty: it has answered.
    ["clock", 0, before, after, wall time]

Threads have the system's numbers; times are CLOCK_MONOTONIC nanoseconds just before and after the change.
"""

import contextvars
import importlib.abc
import importlib.util
import itertools
import json
import os
import sys
import threading
import time
from pathlib import Path

FLUSH_S = 0.05
rows = []
now = time.monotonic_ns
me = threading.get_native_id
EMPTY = ("", "")
numbers = itertools.count(1)
unanswered = set()
"""Requests whose server span has not begun yet."""
answering = contextvars.ContextVar("answering", default=0)


def write(path):
    """Append what is new, again and again: the service may be killed at any time."""
    with path.open("a", buffering=1 << 20) as file:
        while True:
            file.write("".join(json.dumps(row) + "\n" for row in taken()))
            file.flush()
            before, wall = now(), time.time_ns()
            rows.append(("clock", 0, before, now(), wall))
            time.sleep(FLUSH_S)


def taken():
    """The rows so far, which are taken out."""
    count = len(rows)
    found = rows[:count]
    del rows[:count]
    return found


def ids(span):
    """Trace and span id of a span that this process began, else empty ones."""
    context = span.get_span_context()
    if not context.is_valid or context.is_remote:
        return EMPTY
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def current():
    """Ids of the current span of what runs now."""
    api = sys.modules.get("opentelemetry.trace")
    return EMPTY if api is None else ids(api.get_current_span())


def works(before, span, request):
    """A row: what this thread works for from now on."""
    rows.append(("works", me(), before, now(), *span, request))


def begin():
    """A request begins to be answered."""
    before, number = now(), next(numbers)
    answering.set(number)
    unanswered.add(number)
    works(before, EMPTY, number)


def answers(span):
    """The first span of a request is its server span."""
    request = answering.get()
    if request in unanswered:
        unanswered.discard(request)
        rows.append(("answers", me(), now(), now(), request, *span))


def opentelemetry(module):
    """opentelemetry.context.contextvars_context: spans are made current and cease to be by attaching contexts."""
    runtime = module.ContextVarsRuntimeContext
    attach, detach = runtime.attach, runtime.detach

    def attached(self, context):
        before, token, found = now(), attach(self, context), current()
        if found != EMPTY:
            answers(found)
        works(before, found, answering.get())
        return token

    def detached(self, token):
        before = now()
        detach(self, token)
        works(before, current(), answering.get())

    runtime.attach, runtime.detach = attached, detached


def asynchronous(module):
    """asyncio.events: a loop runs one callback after another, each in its own context."""
    run = module.Handle._run

    def ran(self):
        works(now(), in_context(self._context), self._context.get(answering, 0))
        run(self)
        works(now(), EMPTY, 0)

    module.Handle._run = ran


def in_context(context):
    """Ids of the current span of a context that was not entered yet: its variables can be read from outside."""
    api, contexts = sys.modules.get("opentelemetry.trace"), sys.modules.get("opentelemetry.context")
    variable = getattr(getattr(contexts, "_RUNTIME_CONTEXT", None), "_current_context", None)
    return EMPTY if api is None or variable is None else ids(api.get_current_span(context.get(variable, {})))


def executors(module):
    """concurrent.futures.thread: a worker works for whoever submitted."""
    submit = module.ThreadPoolExecutor.submit

    def working(found, request, function, arguments, named):
        works(now(), found, request)
        try:
            return function(*arguments, **named)
        finally:
            works(now(), EMPTY, 0)

    def submitted(self, function, /, *arguments, **named):
        return submit(self, working, current(), answering.get(), function, arguments, named)

    module.ThreadPoolExecutor.submit = submitted


def uvicorn(module):
    """uvicorn.protocols.http.h11_impl: a request is a task of its own."""
    run = module.RequestResponseCycle.run_asgi

    async def ran(self, application):
        begin()
        await run(self, application)

    module.RequestResponseCycle.run_asgi = ran


def werkzeug(module):
    """werkzeug.serving: a request is a call, and the next of its connection another one."""
    run = module.WSGIRequestHandler.run_wsgi

    def ran(self):
        begin()
        try:
            run(self)
        finally:
            answering.set(0)
            works(now(), EMPTY, 0)

    module.WSGIRequestHandler.run_wsgi = ran


def simple_servers(module):
    """wsgiref.simple_server, of a service that has no tracer: it knows the request's caller only."""
    get_app, handle = module.WSGIServer.get_app, module.WSGIRequestHandler.handle

    def known(self):
        application = get_app(self)

        def serving(environ, start_response):
            parts = environ.get("HTTP_TRACEPARENT", "").split("-")
            begin()
            answers(parts[1:3] if len(parts) == 4 else EMPTY)
            return application(environ, start_response)

        return serving

    def handled(self):
        try:
            handle(self)
        finally:
            works(now(), EMPTY, 0)

    module.WSGIServer.get_app, module.WSGIRequestHandler.handle = known, handled


def sockets(module):
    """socket: what goes out, and on which connection."""
    for name in ("connect", "connect_ex", "send", "sendall"):
        setattr(module.socket, name, told(getattr(module.socket, name)))


def told(original):
    """A method of sockets that is written down."""

    def method(self, *arguments):
        before = now()
        try:
            return original(self, *arguments)
        finally:
            rows.append(("sends", me(), before, now(), *ends(self, arguments[0])))

    return method


def ends(socket, given):
    """Both addresses of a connection, the other one as it was `given` where there is none yet."""
    try:
        local, remote = socket.getsockname(), given if isinstance(given, tuple) else socket.getpeername()
    except OSError:
        return "", ""
    return [":".join(str(part) for part in one[:2]) for one in (local, remote)]


def databases(module):
    """sqlite3.dbapi2: connections, in front of which somebody stands who writes down what they are asked."""
    connect = module.connect
    module.connect = lambda *arguments, **named: Asked(connect(*arguments, **named))


class Asked:
    """A connection. Whatever is not asked through it stays as it is."""

    def __init__(self, connection):
        object.__setattr__(self, "connection", connection)

    def __getattr__(self, name):
        return getattr(self.connection, name)

    def __setattr__(self, name, value):
        setattr(self.connection, name, value)

    def __enter__(self):
        self.connection.__enter__()
        return self

    def __exit__(self, kind, *error):
        return asked("COMMIT" if kind is None else "ROLLBACK", self.connection.__exit__, kind, *error)

    def execute(self, words, *parameters):
        return asked(words, self.connection.execute, words, *parameters)


def asked(words, work, *arguments):
    """What `work` gives; meanwhile the database has the word."""
    before = now()
    rows.append(("asks", me(), before, now(), words))
    try:
        return work(*arguments)
    finally:
        before = now()
        rows.append(("asks", me(), before, now(), ""))


WATCHED = {
    "opentelemetry.context.contextvars_context": opentelemetry, "asyncio.events": asynchronous,
    "concurrent.futures.thread": executors, "uvicorn.protocols.http.h11_impl": uvicorn, "werkzeug.serving": werkzeug,
    "wsgiref.simple_server": simple_servers, "socket": sockets, "sqlite3.dbapi2": databases,
}  # fmt: skip


class Finder(importlib.abc.MetaPathFinder):
    """Has a module changed once it is loaded."""

    def find_spec(self, name, _path, _target=None):
        change = WATCHED.pop(name, None)
        if change is None:
            return None
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def loaded(module):
            execute(module)
            change(module)

        spec.loader.exec_module = loaded
        return spec


if folder := os.environ.get("SHOP_TRUTH"):
    for name in [name for name in WATCHED if name in sys.modules]:
        WATCHED.pop(name)(sys.modules[name])
    sys.meta_path.insert(0, Finder())
    path = Path(folder, f"truth-{os.getpid()}.jsonl")
    threading.Thread(target=write, args=(path,), daemon=True).start()
