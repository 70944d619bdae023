"""A shop of one file on the standard library alone, its history with one culprit, and an incident about it."""

import os
import subprocess
from pathlib import Path

APP = """\
import json, os
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

PRICES = {"pen": 120, "ink": 450}


def price(name, amount):
    total = PRICES[name] * amount
    return {"name": name, "total": total, "each": total // amount if amount else 0}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if url.path == "/health":
            return self.answer(200, {"ok": True})
        if url.path != "/price" or query.get("name") not in PRICES:
            return self.answer(404, {"error": "no such thing"})
        return self.answer(200, price(query["name"], int(query.get("amount", "1"))))

    def answer(self, status, content):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        return


HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""
GUARD, GUARDLESS = "total // amount if amount else 0}", "total // amount}"
SERVICE = (
    "{name: shop, repository: {path: history}, good: v1, bad: v2, run: exec python app.py, ready: {path: /health}}"
)
INCIDENT = f"""
id: shop-price
title: The price of nothing is an error page
services:
  - {SERVICE}
load:
  healthy: [{{path: "/price?name=pen&amount=2"}}, {{path: "/price?name=ink&amount=3"}}, {{path: /health}}]
  failing: [{{path: "/price?name=pen&amount=0"}}]
  repeat: 2
symptom: {{service: shop, route: /price}}
"""
NAMES = {f"GIT_{who}_{what}": "t@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


class Repository:
    """A work tree with helpers to change it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        environment = {**os.environ, **NAMES, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
        done = subprocess.run(
            ["git", "-C", str(self.path), *arguments], env=environment, check=True, capture_output=True
        )
        return done.stdout.decode().strip()

    def commit(self, subject: str, files: dict[str, str | bytes]) -> str:
        for name, content in files.items():
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.encode() if isinstance(content, str) else content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", subject)
        return self.git("rev-parse", "HEAD")


def history(path: Path, odd: dict[str, str | bytes] | None = None) -> tuple[Repository, str]:
    """v1 (good) .. v2 (bad), and the culprit; `odd` files come with a commit of their own in between."""
    repository = Repository(path)
    repository.commit("Sell pens and ink", {"app.py": APP, "README.md": "A shop.\n"})
    repository.git("tag", "v1")
    repository.commit("Say what is sold", {"README.md": "A shop for pens and ink.\n"})
    repository.commit("Sell paper", {"app.py": APP.replace('"ink": 450', '"ink": 450, "paper": 30')})
    repository.commit("Add assets", odd or {"assets/logo.txt": "shop\n"})
    now = APP.replace('"ink": 450', '"ink": 450, "paper": 30').replace(GUARD, GUARDLESS)
    culprit = repository.commit("Tidy the price", {"app.py": now})
    repository.commit("Describe the route", {"README.md": "A shop for pens and ink.\n\nGET /price\n"})
    repository.commit("Raise the price of ink", {"app.py": now.replace("450", "480")})
    repository.git("tag", "v2")
    return repository, culprit


def incident(folder: Path, text: str = INCIDENT) -> tuple[Path, Repository, str]:
    """An incident's folder with its history beside it."""
    case = folder / "shop-price"
    repository, culprit = history(case / "history")
    (case / "incident.yaml").write_text(text)
    (case / "truth.yaml").write_text(f"culprit: {culprit}\nfiles: [app.py]\nfunctions: [app.price]\n")
    return case, repository, culprit
