"""A tiny service with a planted regression, and a capture of it that is built by hand from a play."""

from __future__ import annotations

import hashlib
import re
import subprocess
from pathlib import Path

import pyarrow as pa

from butfor.evidence.bundles import Bundle
from butfor.evidence.plays import Observation, Plan, PlannedRequest
from butfor.evidence.predicates import FailurePredicate, Frame
from butfor.evidence.reproductions import PlanParts
from butfor.evidence.requests import Payload
from butfor.evidence.runs import Tree
from butfor.evidence.services import Ready, ServiceDescription
from butfor.evidence.telemetry import LOGS, SPANS, Telemetry
from butfor.evidence.timelines import RequestSeen, Timelines
from butfor.ports.plays import play
from butfor.reproducing import Workshop
from butfor.reproducing.assembling import assemble

SERVER = """
import http.server, json, os, secrets, sys, traceback
from desk import orders

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.answer("GET", b"")
    def do_POST(self):
        self.answer("POST", self.rfile.read(int(self.headers.get("Content-Length") or 0)))
    def answer(self, method, body):
        try:
            status, kind, text = orders.route(method, self.path, body, self.headers)
        except Exception:
            traceback.print_exc()
            status, kind, text = 500, "text/plain", "Internal Server Error"
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""

ORDERS = """
import json, secrets
VERSION = "{version}"
ORDERS = {{}}

def total(order):
    return {total}

def route(method, path, body, headers):
    if path == "/":
        return 200, "text/html", "<h1>Desk</h1><p>open all day</p><footer>version " + VERSION + "{footer}</footer>"
    if method == "POST" and path == "/orders":
        name = secrets.token_hex(16)
        ORDERS[name] = json.loads(body)
        return 201, "application/json", json.dumps({{"order": name, "state": "new"}})
    if path.startswith("/orders/"):
        order = ORDERS.get(path.split("/")[2])
        if order is None:
            return 404, "text/plain", "no such order"
        told = {{"total": total(order), "version": VERSION, "items": order["items"]}}
        return 200, "application/json", json.dumps(told)
    if path == "/list":
        return 200, "application/json", json.dumps({{"count": len(ORDERS), "version": VERSION}})
    return 404, "text/plain", "nothing here"
"""
RIGHT = 'order["price"] * order["items"] - order.get("rebate", 0)'
WRONG = 'order["price"] * order["items"] - order["rebate"]'


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false", *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def history(folder: Path) -> list[str]:
    """Six commits, the fourth plants the failure; returns their shas, oldest first."""
    folder.mkdir(parents=True)
    git(folder, "init", "-q", "-b", "main")
    (folder / "desk").mkdir()
    (folder / "desk" / "__init__.py").write_text("")
    (folder / "server.py").write_text(SERVER)
    shas = []
    for number in range(6):
        total = WRONG if number >= 3 else RIGHT
        footer = " about us" if number >= 2 else ""
        (folder / "desk" / "orders.py").write_text(ORDERS.format(version=f"1.{number}", total=total, footer=footer))
        git(folder, "add", ".")
        git(folder, "commit", "-q", "-m", f"change {number}")
        shas.append(git(folder, "rev-parse", "HEAD"))
    return shas


def service(good: str, bad: str) -> ServiceDescription:
    return ServiceDescription(
        name="desk", good=good, bad=bad, run='PYTHONPATH="$WORKTREE" exec python3 server.py', ready=Ready(path="/")
    )


def capture(workshop: Workshop, described: ServiceDescription, folder: Path) -> tuple[Timelines, Telemetry]:
    """Play a small load at bad and return it as timelines and telemetry; payloads as an edge would see them."""
    folder.mkdir(parents=True)
    first = [
        request("GET", "/"), request("POST", "/orders", b'{"price": 3, "items": 2, "rebate": 1}'),
        request("POST", "/orders", b'{"price": 5, "items": 2}'), request("GET", "/list"), request("GET", "/nothing"),
    ]  # fmt: skip
    observation = observe(workshop, described, write(first, folder), folder / "first")
    names = [order_of(answer.body) for answer in observation.answers[1:3]]
    assert all(names)
    # the same session again, as one client saw it: the ids of this play are what later requests name
    session = [
        *first,
        *(request("GET", f"/orders/{{{{N{n}}}}}") for n in range(2)),
    ]  # fmt: skip
    session = [r.model_copy(update={"id": f"s{n}"}) for n, r in enumerate(session)]
    for n in (1, 2):
        session[n] = session[n].model_copy(update={"save": {f"N{n - 1}": r'"order": "([0-9a-f]+)"'}})
    observation = observe(workshop, described, write(session, folder), folder / "second")
    return as_capture(observation, session, folder)


def request(method: str, target: str, body: bytes = b"") -> PlannedRequest:
    return PlannedRequest(
        id="", role="healthy", service="desk", method=method, target=target, headers=[("X-Body", body.decode())]
    )


def write(requests: list[PlannedRequest], folder: Path) -> list[PlannedRequest]:
    result = []
    for number, one in enumerate(requests):
        body = dict(one.headers)["X-Body"].encode()
        path = None
        if body:
            path = folder / f"{number}.body"
            path.write_bytes(body)
        changed = {"id": one.id or f"q{number}", "body": path, "headers": [("Accept", "*/*")]}
        result.append(one.model_copy(update=changed))
    return result


def observe(workshop: Workshop, described: ServiceDescription, requests: list[PlannedRequest], to: Path) -> Observation:
    parts = PlanParts(service="desk", requests=requests)
    plan: Plan = assemble(
        [described], parts, Tree(revision=described.bad or ""), workshop, frozenset({"desk"}), healthy=True,
        deadline_s=60,
    )  # fmt: skip
    seen = play(plan, sandbox=workshop.bench.sandbox, folder=to)
    assert seen.started, seen.reason
    return seen


def order_of(path: Path | None) -> str:
    found = re.search(r'"order": "([0-9a-f]+)"', path.read_text()) if path else None
    return found.group(1) if found else ""


def as_capture(observation: Observation, requests: list[PlannedRequest], folder: Path) -> tuple[Timelines, Telemetry]:
    bundle = folder / "bundle"
    (bundle / "payloads").mkdir(parents=True)
    names = {f"{{{{N{n}}}}}": order_of(observation.answers[n + 1].body) for n in range(2)}
    payloads, seen = [], []
    for number, (sent, answer) in enumerate(zip(requests, observation.answers, strict=True)):
        target = sent.target
        for mark, value in names.items():
            target = target.replace(mark, value)
        body = dict(sent.headers).get("X-Body", "").encode() or (sent.body.read_bytes() if sent.body else b"")
        content = answer.body.read_bytes() if answer.body else b""
        digests = []
        for part in (body, content):
            digest = hashlib.sha256(part).hexdigest()
            (bundle / "payloads" / digest).write_bytes(part)
            digests.append(digest if part else None)
        trace, span = f"{number:032x}", f"{number:016x}"
        payloads.append(Payload(
            trace_id=trace, span_id=span, role="edge", service="desk", method=sent.method, target=target,
            request_headers=[("Host", "x"), ("Accept", "*/*")], request_body=digests[0], request_bytes=len(body),
            status=answer.status, answer_headers=answer.headers, answer_body=digests[1], answer_bytes=len(content),
            start_ns=answer.start_ns, end_ns=answer.start_ns + int(answer.seconds * 1e9),
        ))  # fmt: skip
        failed = answer.status == 500
        seen.append(RequestSeen(
            span=f"{trace}/{span}", service="desk", method=sent.method, route=re.sub(r"[0-9a-f]{32}", "{id}", target),
            target=target, status=answer.status, ended=None, duration_s=answer.seconds, start_ns=answer.start_ns,
            failed=failed, payload=number,
        ))  # fmt: skip
    telemetry = Telemetry(Bundle(path=bundle, manifest=None), SPANS.empty_table(), LOGS.empty_table(), payloads)
    predicate = FailurePredicate(
        service="desk", method="GET", route="/orders/{id}", status=500, exception_types=["KeyError"],
        message_template="'rebate'", frame=Frame(file="desk/orders.py", line=7, function="total"),
    )  # fmt: skip
    failing = [n for n, one in enumerate(seen) if one.failed]
    healthy = [n for n, one in enumerate(seen) if not one.failed]
    segments = pa.table({"service": pa.array([], pa.string())})
    return Timelines(telemetry, telemetry.spans, segments, requests=seen, predicate=predicate, failing=failing,
                     healthy=healthy), telemetry  # fmt: skip
