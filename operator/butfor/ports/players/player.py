"""Plays a plan: starts services from a fresh `prepare`, sends requests, writes down what came back.

    python player.py PLAN.json OUT

Standard library only; imports only its neighbours. The plan is `Plan` (butfor's evidence/plays.py) as JSON with
the paths as they are seen here, and per service `source` (the tree, read-only), `worktree` (where a private copy
of it goes), `artifacts` (files that its setup made in the tree, or null) and `data` ($DATA). `edges` and `inject`
are the paths of the recording proxy and of the code to inject, or null.
OUT gets `observation.json`, `bodies/`, `logs/`, `spool/`.
"""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from . import services
else:
    import services

if TYPE_CHECKING:
    from . import senders, stubs

Json = dict[str, Any]
Ids = tuple[bytes, bytes]
_SETTLE_S = 0.3
_QUIET_S = 0.02
_LATE_S = 2.0
_EXPORTS_S = 1.3
_LAST_EXPORTS_S = 4.0
_RECENT = 32
_MAXIMUM_TAIL = 8 << 20
_IDS = re.compile(rb'"traceId": ?"([0-9a-f]{32})", ?"spanId": ?"([0-9a-f]{16})"')
_DYING_S = 0.5
"""How long a service that listens no more may take to be gone."""


class Play:
    """One play: `run` starts everything, sends the requests and stops everything, whatever happens."""

    def __init__(self, plan: Json, out: Path) -> None:
        self.plan, self.out, self.spool = plan, out, out / "spool"
        self.begin = time.monotonic()
        self.deadline = self.begin + float(plan.get("deadline_s") or 300)
        for folder in (out / "bodies", out / "logs", self.spool, self.spool / "bodies"):
            folder.mkdir(parents=True, exist_ok=True)
        for shared in (self.spool, self.spool / "bodies"):
            shared.chmod(0o1777)  # the recording proxies' files are ours, those of injected code the service's
        ports = services.Ports()
        self.services = [services.Service(s, out, ports.take(), ports.take()) for s in plan["services"]]
        self.ports: dict[str, int] = {name: ports.take() for name in plan.get("stubs") or {}}
        self.stubs: list[stubs.Stub] = []
        self.edges: list[subprocess.Popen[bytes]] = []
        self.collector = ports.take() if plan.get("collect") else None
        self.sender: senders.Sender | None = None
        self.seen: Json = {
            "started": False, "reason": "", "infrastructure": False, "start_seconds": 0.0, "cpu_seconds": 0.0,
            "notes": [], "probe_traces": [],
        }  # fmt: skip

    def run(self) -> Json:
        """Play, and return the observation (paths relative to OUT)."""
        seen = self.seen
        try:
            self._start()
            seen["started"], seen["start_seconds"] = True, time.monotonic() - self.begin
            self._send()
        except services.NotStarted as problem:
            seen["reason"], seen["infrastructure"] = str(problem), problem.infrastructure
        finally:
            seen["stopped_ns"] = time.time_ns()
            self._stop()
        seen["loaded_files"] = {s.name: loaded_files(self.spool, s.name, s.worktree) for s in self.services}
        seen["logs"] = {s.name: f"logs/{s.name}.log" for s in self.services if s.log.exists()}
        seen["answers"] = self.sender.answers if self.sender else []
        names = {port: name for name, port in self.ports.items()}
        seen["stub_calls"] = {names[stub.port]: stub.answers.asked for stub in self.stubs}
        seen["stub_misses"] = {names[stub.port]: list(stub.answers.missed) for stub in self.stubs}
        return seen | {"seconds": time.monotonic() - self.begin}

    def _start(self) -> None:
        urls = {services.url_name(name): f"http://127.0.0.1:{port}" for name, port in self.ports.items()}
        self._start_stubs()
        if self.collector:
            self._start_collector(self.collector)
        for service in self.services:
            edged = bool(service.plan.get("edge") and self.plan.get("edges"))
            service.front = service.front if edged else service.port
            self.ports[service.name] = service.front
            urls[services.url_name(service.name)] = f"http://127.0.0.1:{service.front}"
        for service in self.services:
            self._start_service(service, urls)

    def _start_stubs(self) -> None:
        if not self.plan.get("stubs"):
            return
        stubs = load("stubs")
        for name, answers in self.plan["stubs"].items():
            if stub := stubs.start(self.ports[name], answers):
                self.stubs.append(stub)

    def _start_collector(self, port: int) -> None:
        """Start what takes the telemetry of services that have an SDK; without it they are seen from outside."""
        program = str(Path(__file__).with_name("collectors.py"))
        command = [*services.unprivileged(), sys.executable, "-I", "-B", program, str(port), str(self.spool)]
        with (self.out / "logs" / "collector.log").open("ab") as log:
            self.edges.append(subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            ))  # fmt: skip
        listens, deadline = load("clients").listens, min(time.monotonic() + 10, self.deadline)
        while not listens(port):
            if time.monotonic() > deadline or self.edges[-1].poll() is not None:
                said = services.tail(self.out / "logs" / "collector.log")
                raise services.NotStarted(f"the collector did not start: {said}", infrastructure=True)
            time.sleep(0.01)

    def _exporting(self, service: services.Service) -> dict[str, str]:
        """Where the service's SDK sends what it records."""
        collectors = load("collectors")
        if not self.collector or not collectors.speaks(service.plan.get("environment_path")):
            return {}
        found: dict[str, str] = collectors.environment(self.collector, service.name)
        return found

    def _start_service(self, service: services.Service, urls: dict[str, str]) -> None:
        service.copy_worktree()
        variables = service.environment(urls, str(self.plan.get("case") or ""))
        service.prepare(variables, self.deadline - time.monotonic())
        deadline = min(time.monotonic() + float(self.plan.get("start_timeout_s") or 60), self.deadline)
        exporting = self._exporting(service) if self.collector else {}
        service.start({"BUTFOR_SERVICE": service.name, **exporting, **self._injected(service, variables)})
        if service.front != service.port:
            self._start_edge(service)
        wait_ready = load("senders").wait_ready
        problem, traces = wait_ready(service.port, service.plan.get("ready") or {}, deadline, service.check_alive)
        self.seen["probe_traces"] += traces
        if problem:
            raise services.NotStarted(f"{service.name} was not ready in time: {problem}: {services.tail(service.log)}")
        if service.front != service.port:
            self._wait_edge(service)

    def _start_edge(self, service: services.Service) -> None:
        """Start the recording proxy in front of a service; it needs nothing of the service's environment."""
        command = [
            *services.unprivileged(), sys.executable, "-I", "-B", str(self.plan["edges"]),
            "--listen", f"127.0.0.1:{service.front}", "--target", f"127.0.0.1:{service.port}",
            "--spool", str(self.spool), "--service", service.name,
        ]  # fmt: skip
        with (self.out / "logs" / f"{service.name}.edge.log").open("ab") as log:
            edge = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.edges.append(edge)

    def _wait_edge(self, service: services.Service) -> None:
        listens, deadline = load("clients").listens, min(time.monotonic() + 20, self.deadline)
        while not listens(service.front):
            if time.monotonic() > deadline or self.edges[-1].poll() is not None:
                log = services.tail(self.out / "logs" / f"{service.name}.edge.log")
                raise services.NotStarted(f"the recording proxy did not start: {log}", infrastructure=True)
            time.sleep(0.01)

    def _injected(self, service: services.Service, variables: dict[str, str]) -> dict[str, str]:
        """The service's variables with the recording code in them; unchanged (and noted) where there is none."""
        if not (service.plan.get("inject") and self.plan.get("inject")):
            return variables
        try:
            functions = bool(self.plan.get("functions"))
            return inject(Path(self.plan["inject"]), service, self.out, variables, functions=functions)
        except (ImportError, AttributeError, TypeError, OSError) as error:
            self.seen["notes"].append(f"{service.name} runs without injection: {error}")
            return variables

    def _send(self) -> None:
        self.sender = load("senders").Sender(self.plan, self.out, self.ports, self.deadline)
        sessions = {s.process.pid for s in self.services if s.process}
        before = services.cpu_seconds(sessions)
        self.sender.send_all()
        self.seen["cpu_seconds"] = max(services.cpu_seconds(sessions) - before, 0.0)
        ended = [s for s in self.services if s.process and self._has_ended(s)]
        self.seen["reason"] = "; ".join(f"{s.name} ended (exit {s.process.returncode})" for s in ended if s.process)
        if self.edges or any(s.plan.get("inject") for s in self.services):
            settle(self.spool, {a["trace_id"] for a in self.sender.answers[-_RECENT:] if a.get("status")})
        if self.collector:
            await_exports(self.spool)

    def _has_ended(self, service: services.Service) -> bool:
        """Whether a service ended by itself; the kernel takes its sockets down a moment before it is gone."""
        assert service.process is not None
        if self.sender is None or all(a.get("ended") not in ("closed", "refused") for a in self.sender.answers[-1:]):
            return service.process.poll() is not None
        listens, until = load("clients").listens, time.monotonic() + _DYING_S
        while service.process.poll() is None and time.monotonic() < until and not listens(service.port):
            time.sleep(0.005)
        return service.process.poll() is not None

    def _stop(self) -> None:
        grace = float(self.plan.get("grace_s") or 0.0)
        services.stop_groups([s.process for s in self.services if s.process], grace)
        services.stop_groups(self.edges, max(grace, 0.5))
        for stub in self.stubs:
            stub.stop()


def load(name: str) -> Any:
    """Import a neighbour when it is needed: what a service does not need to start must not delay its start."""
    package = f"{__package__}.{name}" if __package__ else name
    __import__(package)
    return sys.modules[package]


def inject(
    package: Path, service: services.Service, out: Path, variables: dict[str, str], *, functions: bool
) -> dict[str, str]:
    """Variables that make the service's interpreter record itself: shims first on PATH, our folder on PYTHONPATH."""
    sys.path.insert(0, str(package.parent))
    try:
        shims = __import__("butfor_inject.shims", fromlist=["shims"])
    finally:
        sys.path.remove(str(package.parent))
    folder, venv = service.worktree.parent / "shims", service.plan.get("environment_path")
    shims.make_shims(folder, f"{venv}/bin" if venv else variables["PATH"])
    added: dict[str, str] = shims.environment(
        package / "site", out / "spool", service.name, shims=folder, path=variables["PATH"],
        pythonpath=variables.get("PYTHONPATH", ""), source_roots=[service.worktree],
        revision=str(service.plan.get("revision") or ""), functions=functions,
    )  # fmt: skip
    if context := service.plan.get("context"):
        added["BUTFOR_CONTEXT"] = str(context)
    return variables | added


def settle(spool: Path, answered: set[str]) -> None:
    """Wait until the recorders have written the end of the last requests.

    Every one of the `answered` traces has spans, all of them ended; or nothing grows for a moment and none is still
    open: a service may answer 500 first and let go of the exception afterwards, which on a busy machine is a while.
    """
    begin, last, since = time.monotonic(), -1, time.monotonic()
    if answered and all_ended(spool, answered):
        return
    while time.monotonic() - begin < _LATE_S:
        size = sum(entry.stat().st_size for entry in os.scandir(spool) if entry.is_file(follow_symlinks=False))
        if size != last:
            last, since = size, time.monotonic()
        quiet = time.monotonic() - since >= _QUIET_S or time.monotonic() - begin >= _SETTLE_S
        if quiet and not still_open(spool, answered):
            return
        time.sleep(0.005)


def await_exports(spool: Path) -> None:
    """Wait until SDKs have sent what they hold: nothing came for longer than they wait between two exports."""
    begin, last, since = time.monotonic(), -1, time.monotonic()
    while time.monotonic() - begin < _LAST_EXPORTS_S:
        size = sum(path.stat().st_size for path in spool.glob("otlp-*.frames"))
        if size != last:
            last, since = size, time.monotonic()
        if time.monotonic() - since >= _EXPORTS_S:
            return
        time.sleep(0.02)


def still_open(spool: Path, traces: set[str]) -> bool:
    """Whether a server span of these traces was begun whose end is not written yet."""
    begun, ended = _spans(spool)
    return any(trace.decode() in traces for trace, _ in begun - ended)


def all_ended(spool: Path, traces: set[str]) -> bool:
    """Whether each of these traces has server spans, and all of them have ended."""
    begun, ended = _spans(spool)
    return traces <= {trace.decode() for trace, _ in begun} and not any(t.decode() in traces for t, _ in begun - ended)


def _spans(spool: Path) -> tuple[set[Ids], set[Ids]]:
    """The (trace, span) ids that were begun, and those that have ended."""
    ended = set(_IDS.findall(_read([*spool.glob("spans-*"), *spool.glob("ended-*")])))
    return set(_IDS.findall(_read(spool.glob("open-*")))), ended


def _read(paths: Iterable[Path]) -> bytes:
    """The ends of files that recorders wrote for themselves alone, read as their user; what cannot be read is empty."""
    with services.as_foreign():
        return b"\n".join(_end(path) for path in paths)


def _end(path: Path) -> bytes:
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    with os.fdopen(number, "rb") as file:
        state = os.fstat(number)
        if not stat.S_ISREG(state.st_mode):
            return b""
        file.seek(max(state.st_size - _MAXIMUM_TAIL, 0))
        return file.read(_MAXIMUM_TAIL)


def loaded_files(spool: Path, service: str, worktree: Path) -> list[str]:
    """Files of modules that the service's processes loaded, with the worktree's place written `<worktree>`."""
    found: set[str] = set()
    for path in sorted(spool.glob("modules-*.json"))[:256]:
        try:
            entry = json.loads(path.read_text())
        except (OSError, ValueError):
            continue  # a process that was killed while it wrote
        if isinstance(entry, dict) and entry.get("service") == service:
            found.update(str(f) for f in entry.get("files") or [])
    root = str(worktree)
    return sorted("<worktree>" + f[len(root) :] if f.startswith(root + "/") else f for f in found)


def play(plan: Json, out: Path) -> Json:
    """Play `plan` and write `out/observation.json`; returns the same observation."""
    observation = Play(plan, out).run()
    temporary = out / "observation.json.tmp"
    temporary.write_text(json.dumps(observation))
    temporary.replace(out / "observation.json")
    return observation


def main() -> None:
    """Play the plan that the arguments name, as the last thing that this process does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    play(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # all is written: what the interpreter would tidy up goes with the sandbox


if __name__ == "__main__":
    main()
