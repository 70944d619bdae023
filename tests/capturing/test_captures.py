"""`butfor capture` from the command line on small services with a failing route."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from butfor.capturing.commands import free_port
from butfor.evidence.bundles import Manifest
from butfor.evidence.requests import Payload

from .test_bundles import document

FLASK = """
import sys
from flask import Flask, request
app = Flask(__name__)
@app.get("/health")
def health():
    return "ok"
@app.post("/login")
def login():
    return {"echo": request.json["password"]}
@app.get("/boom")
def boom():
    raise LookupError("no such item")
app.run(port=int(sys.argv[1]))
"""
PLAIN = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(500 if self.path == "/boom" else 200)
        self.end_headers()
        self.wfile.write(b"plain")
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@contextmanager
def capturing(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [sys.executable, "-m", "butfor.cli", "capture", "--name", "shop", "--out", "bundle", *arguments]
    with subprocess.Popen(
        command, cwd=folder, env={**os.environ, "PATH": path}, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()


def ask(port: int, path: str, body: dict | None = None, patience: float = 60) -> tuple[int, bytes]:
    """Ask until somebody listens."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, {"Content-Type": "application/json"})
    until = time.monotonic() + patience
    while True:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def read(folder: Path) -> tuple[Manifest, list[Payload]]:
    manifest = Manifest.model_validate_json((folder / "bundle" / "manifest.json").read_text())
    lines = (folder / "bundle" / "payloads" / "index.jsonl").read_text().splitlines()
    return manifest, [Payload.model_validate_json(line) for line in lines]


@pytest.mark.slow
def test_an_uninstrumented_service_until_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(FLASK)
    port = free_port()
    with capturing(tmp_path, "--", "python", "app.py", str(port)) as process:
        assert ask(port, "/health")[0] == 200
        assert ask(port, "/login", {"password": "hunter22x"})[1] == b'{"echo":"hunter22x"}\n'
        assert ask(port, "/boom")[0] == 500
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    manifest, payloads = read(tmp_path)
    assert said.startswith("capturing shop: ")
    assert "seen: 3 requests, 1 of them failed; 3 server spans from inside" in said
    assert "1 x LookupError" in said
    assert (manifest.services[0].instrumentation, manifest.services[0].server_spans) == ("injected", 3)
    assert "flask" in manifest.services[0].distributions
    assert [p.status for p in payloads] == [200, 200, 500]
    everything = b"".join(p.read_bytes() for p in (tmp_path / "bundle").rglob("*") if p.is_file())
    assert b"hunter22x" not in everything
    assert b"LookupError" in everything
    draft = yaml.safe_load((tmp_path / "bundle" / "butfor.yaml").read_text())
    assert (draft["run"], draft["ready"]) == ('exec python app.py "$PORT"', {"path": "/health"})
    assert not list(tmp_path.glob(".bundle*"))


@pytest.mark.slow
def test_port_in_the_command_records_at_the_edge_too(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(FLASK)
    front = free_port()
    options = ["--listen", str(front), "--privacy", "local", "--requests", "1"]
    with capturing(tmp_path, *options, "--", sys.executable, "-I", "app.py", "$PORT") as process:
        assert ask(front, "/boom")[0] == 500
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert f"\nready: send requests to http://127.0.0.1:{front}, not to port " in said
    manifest, payloads = read(tmp_path)
    assert manifest.privacy == "local"
    assert {p.role for p in payloads} == {"edge", "server"}
    assert len({p.trace_id for p in payloads}) == 1
    assert "seen: 1 requests, 1 of them failed; 1 server spans from inside, 1 from the proxy" in said


@pytest.mark.slow
def test_a_server_that_cannot_be_looked_into_is_started_again_behind_a_proxy(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(PLAIN)
    port = free_port()
    with capturing(tmp_path, "--requests", "1", "--for", "90", "--", "python", "app.py", str(port)) as process:
        while process.poll() is None:  # its users go on asking while it is started again
            try:
                ask(port, "/boom", patience=10)
            except OSError:
                continue
            time.sleep(0.3)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert f"behind a proxy on port {port}" in said
    manifest, payloads = read(tmp_path)
    assert manifest.services[0].instrumentation == "proxy"
    assert next(p.status for p in payloads if p.role == "edge") == 500
    assert any("behind a proxy" in note for note in manifest.notes)


@pytest.mark.slow
def test_a_command_that_fails_by_itself_and_what_cannot_be_started(tmp_path: Path) -> None:
    with capturing(tmp_path, "--", "bash", "-c", "exit 3") as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.splitlines()[-1].startswith("the command ended with code 3 before any request; ")
    assert "$PORT" not in said
    assert not list(tmp_path.iterdir())
    with capturing(tmp_path, "--", "./no-such-program") as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said.splitlines()[-1].startswith("error: ./no-such-program cannot be started: No such file")
    with capturing(tmp_path) as process:
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said.count("\n")) == (2, 1)


@pytest.mark.slow
def test_a_service_description_runs_without_a_command(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(PLAIN)
    described = {
        "name": "plain",
        "prepare": "echo 1 > $DATA/ready",
        "run": 'cat "$DATA/ready" && exec python app.py "$PORT"',
    }
    (tmp_path / "butfor.yaml").write_text(yaml.safe_dump(described))
    front = free_port()
    options = ["--service", "butfor.yaml", "--listen", str(front), "--requests", "1"]
    with capturing(tmp_path, *options) as process:
        assert ask(front, "/") == (200, b"plain")
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert yaml.safe_load((tmp_path / "bundle" / "butfor.yaml").read_text()) == described


@pytest.mark.slow
def test_what_a_service_exports_itself_is_taken(tmp_path: Path) -> None:
    (tmp_path / "export.py").write_text(
        "import json, os, urllib.request\n"
        "from pathlib import Path\n"
        "url = os.environ['OTEL_EXPORTER_OTLP_ENDPOINT'] + '/v1/traces'\n"
        "headers = {'Content-Type': 'application/json'}\n"
        "urllib.request.urlopen(urllib.request.Request(url, Path('trace.json').read_bytes(), headers))\n"
    )
    (tmp_path / "trace.json").write_text(
        json.dumps(document("1" * 16, service="pay", enduser__email="ann@example.com"))
    )
    with capturing(tmp_path, "--", "python", "export.py") as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    manifest, _ = read(tmp_path)
    assert {s.name: s.instrumentation for s in manifest.services}["pay"] == "otlp"
    assert "ann@example.com" not in (tmp_path / "bundle" / "spans.otlp.jsonl").read_text()
