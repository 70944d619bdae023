"""Incidents in folders: small services with git histories of their own, none of which needs a setup."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

SERVER = """
import os
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server
from desk import orders

class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass

class Threaded(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64

def application(environ, start_response):
    if environ["PATH_INFO"] == "/":
        status, text = "200 OK", "open"
    else:
        status, text = orders.answer(environ["PATH_INFO"], environ.get("QUERY_STRING", ""))
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(text.encode())))])
    return [text.encode()]

make_server("127.0.0.1", int(os.environ["PORT"]), application, Threaded, Quiet).serve_forever()
"""

CALLER = """
import json
import os
import urllib.request

BASE = os.environ["RATES_URL"]
{head}

def rate(currency):
    asked = urllib.request.Request(f"{{BASE}}/rates/{{currency}}", headers={headers})
    with urllib.request.urlopen(asked, timeout={timeout}) as answer:
        return json.load(answer)["rate"]


def answer(path, query):
    kind, _, name = path.strip("/").partition("/")
    if kind == "price":
        factor = {call}
        total = 100 * factor
        return "200 OK", json.dumps({{"currency": name, "total": {total}}})
    return "404 Not Found", json.dumps({{"error": "{missing}"}})
"""
CALLER_SLOTS = {
    "head": "", "headers": "{}", "timeout": "5", "call": "rate(name)", "total": "total", "missing": "nothing here",
}  # fmt: skip

PROVIDER = """
import http.server
import json
import os
import random
import sys
import threading
import time

SEEN = {}

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, _, query = self.path.partition("?")
        name = path.rsplit("/", 1)[1]
        SEEN[name] = SEEN.get(name, 0) + 1
        status, body = 200, {"rate": 2}
        BEHAVIOUR
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""

LOCAL = """
import json
import os
import threading
{head}

def work(name):
{work}


def answer(path, query):
    kind, _, name = path.strip("/").partition("/")
    if kind == "report":
        found = work(name)
        return "200 OK", json.dumps({{"report": name, "found": {found}}})
    return "404 Not Found", json.dumps({{"error": "{missing}"}})
"""
LOCAL_SLOTS = {"head": "", "work": "    return 1", "found": "found", "missing": "nothing here"}
INNOCENT: tuple[tuple[str, dict[str, str]], ...] = (
    ("Say more about what is missing", {"missing": "there is nothing here"}),
    ("Leave room for settings", {"head": "VERSION = 2"}),
    ("Say it in other words", {"missing": "no such page"}),
)


def git(folder: Path, *arguments: str, when: int = 0) -> str:
    who = {f"GIT_{role}_{part}": value for role in ("AUTHOR", "COMMITTER") for part, value in (
        ("NAME", "T"), ("EMAIL", "t@example.org"), ("DATE", f"{1_700_000_000 + when * 86_400} +0000"),
    )}  # fmt: skip
    env = {**os.environ, **who, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    done = subprocess.run(["git", "-C", str(folder), *arguments], env=env, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def history(folder: Path, commits: Sequence[tuple[str, Mapping[str, str]]]) -> list[str]:
    """A repository with one commit per (subject, files); returns the shas, oldest first."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    shas = []
    for number, (subject, files) in enumerate(commits):
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        git(folder, "add", ".")
        git(folder, "commit", "-q", "--allow-empty", "-m", subject, when=number)
        shas.append(git(folder, "rev-parse", "HEAD"))
    return shas


def changes(template: str, slots: Mapping[str, str], steps: Sequence[tuple[str, Mapping[str, str]]]) -> list[Any]:
    """Commits of `desk/orders.py`: the template with slots, each step changing some of them."""
    now, commits = dict(slots), []
    base = {"server.py": SERVER, "desk/__init__.py": ""}
    for subject, changed in [("Begin", {}), *steps]:
        now.update(changed)
        commits.append((subject, {**(base if not commits else {}), "desk/orders.py": template.format(**now)}))
    return commits


@dataclass
class Case:
    """One incident folder in the making."""

    folder: Path
    services: list[dict[str, Any]] = field(default_factory=list)
    shas: dict[str, list[str]] = field(default_factory=dict)

    def web(self, commits: Sequence[Any], **keys: Any) -> None:
        """The service under suspicion, from its first commit to its last."""
        shas = self.shas["web"] = history(self.folder / "web", commits)
        self.services.append({
            "name": "web", "repository": {"path": "web"}, "good": shas[0], "bad": shas[-1],
            "run": 'PYTHONPATH="$WORKTREE" exec python3 server.py', "ready": {"path": "/"}, **keys,
        })  # fmt: skip

    def provider(self, behaviour: str, name: str = "rates") -> None:
        """A service that is not under suspicion; `behaviour` may set `status` and `body`, or not answer at all."""
        text = PROVIDER.replace("BEHAVIOUR", behaviour.strip().replace("\n", "\n        "))
        shas = history(self.folder / name, [("Serve", {"serve.py": text})])
        self.services.append({
            "name": name, "repository": {"path": name}, "revision": shas[0], "run": "exec python3 serve.py",
            "ready": {"path": "/rates/READY"},
        })  # fmt: skip

    def write(self, load: Mapping[str, Any], truth: Mapping[str, Any], **keys: Any) -> Path:
        """`incident.yaml` and `truth.yaml`."""
        self.folder.chmod(0o755)
        content = {"id": self.folder.name, "title": "it fails", "services": self.services, "load": load, **keys}
        (self.folder / "incident.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
        (self.folder / "truth.yaml").write_text(yaml.safe_dump(dict(truth)))
        return self.folder


def gets(*paths: str, **keys: Any) -> list[dict[str, Any]]:
    """GET requests of the suspected service."""
    return [{"service": "web", "path": path, **keys} for path in paths]
