"""Two services to measure on: one of the standard library, one on a server and framework as people use them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench import histories
from butfor.evidence.services import Ready, ServiceDescription

PLAIN = """
import http.server, json, os

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = json.dumps({"path": self.path, "numbers": list(range(20))}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
ASGI = """
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

async def show(request):
    return JSONResponse({"path": request.url.path, "numbers": list(range(20))})

app = Starlette(routes=[Route("/{rest:path}", show)])
"""
WSGI = """
from flask import Flask, jsonify

app = Flask(__name__)

@app.get("/", defaults={"rest": ""})
@app.get("/<path:rest>")
def show(rest):
    return jsonify(path="/" + rest, numbers=list(range(20)))
"""
PAGES = {f"docs/page{number}.md": f"# Page {number}\n" * 40 for number in range(60)}
"""A repository is more than one file: what a checkout costs belongs to a run."""


@dataclass(frozen=True)
class Served:
    """A service with a history of a few commits."""

    description: ServiceDescription
    repository: Path
    commits: list[str]


def served(name: str, folder: Path) -> Served:
    """`plain`, `asgi` (starlette on uvicorn) or `wsgi` (flask on waitress)."""
    source = {"plain": PLAIN, "asgi": ASGI, "wsgi": WSGI}[name]
    steps = [
        histories.Step((number - 1,) if number else (), {"app.py": source, "VERSION": f"{number}\n", **PAGES})
        for number in range(4)
    ]
    commits = histories.write(folder / name, steps)
    return Served(_description(name, commits), folder / name, commits)


def _description(name: str, commits: list[str]) -> ServiceDescription:
    setup, run = {
        "plain": ("true", "exec python3 app.py"),
        "asgi": (
            "pip install --quiet starlette==0.46.2 uvicorn==0.34.3",
            "exec uvicorn app:app --port $PORT --log-level warning",
        ),
        "wsgi": ("pip install --quiet flask==3.1.1 waitress==3.0.2", "exec waitress-serve --port=$PORT app:app"),
    }[name]
    return ServiceDescription(
        name=name, good=commits[0], bad=commits[-1], setup=setup, run=run, ready=Ready(path="/healthz")
    )
