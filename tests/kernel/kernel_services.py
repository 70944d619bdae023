"""A small service of the standard library for tests of the whole path, and plays of it."""

import sys

from butfor.evidence.plays import PlannedRequest, PlannedService
from butfor.ports.interpreters import interpreter

PYTHON = str(interpreter(sys.executable).executable)
APP = """
import os, signal, socket, sys, time
from wsgiref.simple_server import make_server, WSGIRequestHandler

def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/refused":
        try: socket.create_connection(("127.0.0.1", 9), timeout=1)
        except OSError: pass
    elif path == "/missing":
        try: open("/nowhere/customers/ada@example.org")
        except OSError: pass
    elif path == "/die":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif path == "/slow":
        time.sleep(0.2)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"fine"]

class Quiet(WSGIRequestHandler):
    def log_message(self, *_): pass

make_server("127.0.0.1", int(os.environ["PORT"]), application, handler_class=Quiet).serve_forever()
"""


def service(folder, **changes):
    worktree = folder / "source"
    worktree.mkdir(exist_ok=True)
    (worktree / "app.py").write_text(APP)
    return PlannedService(**{"name": "shop", "worktree": worktree, "run": f"exec {PYTHON} app.py", **changes})


def get(target, role="healthy"):
    return PlannedRequest(id=target, role=role, service="shop", method="GET", target=target)
