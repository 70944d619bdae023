"""Incidents that the kernel sees best: small services, each with the failure swallowed before a span could tell of it.

python tests/kernel/incidents.py DIR; butfor eval DIR --json with.json; butfor eval DIR --without kernel --json without.json
python tests/kernel/incidents.py --beside with.json without.json
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from outcomes.planted import INNOCENT, LOCAL_SLOTS, Case, changes, gets

Make = Callable[[Path], Path]
LATER = ("Say it once more", {"missing": "not here"})
KEPT = "KEPT = []"
BOOKS = """
import json
import os
import threading
import time
from urllib.parse import parse_qs
{head}

def work(name):
{work}


def answer(path, query):
    name = parse_qs(query).get("name", ["none"])[0]
    if path == "/report":
        return "200 OK", json.dumps({{"report": name, "pages": work(name) and 3}})
    return "404 Not Found", json.dumps({{"error": "{missing}"}})
"""
"""One route for all reports. What a report is answered does not depend on what became of its side effects."""


def reports(*names: str, **keys: Any) -> list[dict[str, Any]]:
    """Requests of BOOKS."""
    return gets(*(f"/report?name={name}" for name in names), **keys)


READ = """    try:
        file = open(__file__{encoding})
        text = file.read()
        {close}
    except OSError:
        text = ""
    return len(text) * 0 + 1
"""


def descriptor_leak(folder: Path) -> Path:
    """A commit keeps each file open; some requests later none can be opened, and what is read is replaced unsaid."""
    case = Case(folder)
    sound = READ.format(close="file.close()", encoding="")
    leaking = READ.format(close="KEPT.append(file)", encoding="")
    touched = READ.format(close="KEPT.append(file)", encoding=', encoding="utf-8"')
    steps = [
        INNOCENT[0], ("Make room for files", {"head": KEPT}), ("Keep files for later", {"work": leaking}), INNOCENT[2],
        ("Read files as what they are", {"work": touched}), LATER,
    ]  # fmt: skip
    case.web(changes(BOOKS, {**LOCAL_SLOTS, "work": sound}, steps), limits={"open_files": 64})
    load = {"before": reports("first", repeat=80), "healthy": gets("/nothing"), "failing": reports("a", "b")}
    truth = {"outcome": "CodeChange", "culprit": case.shas["web"][3]}
    return case.write(load, truth, symptom={"service": "web", "route": "/report"})


WRITE = """    path = os.path.join(os.environ["DATA"], name)
    try:
        with open(path, "wb") as file:
            file.write(bytes((2 << 20) if name.startswith("big") else 100))
    except OSError:
        os.unlink(path)
    return 1
"""


def full_disk(folder: Path) -> Path:
    """The disk is too small for some reports, at both revisions; what cannot be kept is left out, unsaid."""
    case = Case(folder)
    case.web(changes(BOOKS, {**LOCAL_SLOTS, "work": WRITE}, INNOCENT), limits={"disk_mb": 1})
    load = {"healthy": [*reports("a", "b", "d"), *gets("/nothing")], "failing": reports("big", "bigger")}
    return case.write(load, {"outcome": "Resource", "culprit": None}, symptom={"service": "web", "route": "/report"})


NATIVE = """
import ctypes

def measured(name):
    size = {size}
    text = ctypes.create_string_buffer(b"x" * 16)
    return len(ctypes.string_at(ctypes.addressof(text) + size, 1))
"""
WORKED = """    worker = os.fork()
    if worker == 0:
        os._exit(measured(name) - 1)
    _, status = os.waitpid(worker, 0)
    if {failed}:
        return len(name[:1])
    return 1
"""


def native_crash(folder: Path) -> Path:
    """A commit lets native code read where nothing is: the worker dies, and its parent does the work in Python."""
    case = Case(folder)
    sound, broken = NATIVE.format(size="8"), NATIVE.format(size='(1 << 44) if name.startswith("big") else 8')
    steps = [
        *INNOCENT[:1], LATER, ("Read large reports from the end", {"head": broken}),
        ("Whatever a worker ends with, go on without it", {"work": WORKED.format(failed="status != 0")}),
    ]  # fmt: skip
    case.web(changes(BOOKS, {**LOCAL_SLOTS, "head": sound, "work": WORKED.format(failed="status")}, steps))
    load = {"healthy": [*reports("a", "b", "d"), *gets("/nothing")], "failing": reports("big", "bigger")}
    truth = {"outcome": "CodeChange", "culprit": case.shas["web"][3]}
    return case.write(load, truth, symptom={"kernel": "signal SIGSEGV"})


TRAIL = '''
"""Writes to the audit trail as well as it can: no request may fail for it."""

import socket


def record(port, name):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout={timeout}) as peer:
            peer.sendall(f"GET /rates/{{name}} HTTP/1.0\\r\\n\\r\\n".encode())
            peer.recv(1000)
    except OSError:
        return
'''
TRAILED = """
from urllib.parse import urlsplit
from desk import trail
PORT = urlsplit(os.environ["AUDIT_URL"]).port
SHARDS = {shards}"""


def swallowed_refusal(folder: Path) -> Path:
    """A commit writes some lines to a port where nobody listens; the library swallows it, and every answer stays."""
    case = Case(folder)
    case.provider("", name="audit")
    recorded = "    trail.record(SHARDS.get(name[0], PORT), name)\n    return 1"
    steps = [
        INNOCENT[0], LATER, ("Large customers have a trail of their own", {"head": TRAILED.format(shards="{'c': 9}")}),
        ("Say it in other words", {"missing": "no such page"}),
    ]  # fmt: skip
    commits = changes(BOOKS, {**LOCAL_SLOTS, "head": TRAILED.format(shards="{}"), "work": recorded}, steps)
    for number, timeout in ((0, 1), (2, 2), (4, 0.5)):  # another commit touches the place that swallows it
        commits[number][1]["desk/trail.py"] = TRAIL.format(timeout=timeout)
    case.web(commits)
    load = {"healthy": reports("a", "b", "d", "e"), "failing": reports("c1", "c2")}
    truth = {"outcome": "CodeChange", "culprit": case.shas["web"][3]}
    return case.write(load, truth, symptom={"kernel": "connect ECONNREFUSED"})


ARCHIVED = """
from urllib.parse import urlsplit
from desk import trail
PORT = urlsplit(os.environ["ARCHIVE_URL"]).port
LOCK = threading.Lock()"""
LOCKED = """    with LOCK:
        count = 1
    {indent}trail.record(PORT, name)
    time.sleep(0.6)
    return count
"""


def lock_over_io(folder: Path) -> Path:
    """A commit talks to the archive while it holds the lock that every request needs; most of a request is other work.

    So nothing is much slower than before, and what a slow request waits for is done by another one.
    """
    case = Case(folder)
    case.provider("time.sleep(0.1)", name="archive")
    sound, held = LOCKED.format(indent=""), LOCKED.format(indent="    ")
    steps = [*INNOCENT[:1], ("Archive in order", {"work": held}), INNOCENT[2], LATER]
    commits = changes(BOOKS, {**LOCAL_SLOTS, "head": ARCHIVED, "work": sound}, steps)
    commits[0][1]["desk/trail.py"] = TRAIL.format(timeout=5)
    case.web(commits)
    load = {"healthy": gets("/nothing"), "failing": reports("a", "b"), "concurrency": 9, "repeat": 12}
    truth = {"outcome": "CodeChange", "culprit": case.shas["web"][2]}
    symptom = {"service": "web", "route": "/report", "latency_over_ms": 800, "kernel": "futex lock"}
    return case.write(load, truth, symptom=symptom)


INCIDENTS: dict[str, Make] = {
    "descriptor-leak": descriptor_leak, "full-disk": full_disk, "native-crash": native_crash,
    "swallowed-refusal": swallowed_refusal, "lock-over-io": lock_over_io,
}  # fmt: skip


def beside(with_kernel: Path, without: Path) -> str:
    """Two lines per incident: what the verdict is, and what it names, with the kernel's evidence and without."""
    rows = [{row["id"]: row for row in json.loads(path.read_text())["incidents"]} for path in (with_kernel, without)]
    ways = list(zip(("with", "without"), rows, strict=True))
    return "\n".join(
        f"{name:18} {way:8} {told(found[name])}" for name in rows[0] for way, found in ways if name in found
    )


def told(row: dict[str, Any]) -> str:
    """Outcome, claim, rank before any run; what the slice names; what the kernel saw; the check of the patch."""
    verdict = json.loads(Path(row["verdict"]).read_text()) if row.get("verdict") else {}
    names = [node.split(":")[-1] for node in verdict.get("slice", {}).get("nodes", []) if node.startswith("resource")]
    seen = [" ".join((one["kind"], one["errno"])) for one in (verdict.get("predicate") or {}).get("kernel", [])]
    checks = [one["detail"] for one in verdict.get("patch", {}).get("checks", []) if one["name"] == "kernel events"]
    parts = [f"{row['outcome']}, {row['claim']}, rank {row['rank_before_runs']}, true: {row['proof_true']}"]
    parts += [f"names {', '.join(names)}"] if names else []
    parts += [f"failure includes {', '.join(seen)}"] if seen else []
    return "; ".join([*parts, *checks])


if __name__ == "__main__":
    if sys.argv[1] == "--beside":
        sys.stdout.write(beside(Path(sys.argv[2]), Path(sys.argv[3])) + "\n")
    else:
        for name, make in INCIDENTS.items():
            sys.stdout.write(f"{make(Path(sys.argv[1]) / name)}\n")
