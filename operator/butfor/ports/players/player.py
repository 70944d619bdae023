"""Plays a plan: starts services from a fresh `prepare`, sends requests, writes down what came back.

    python player.py PLAN.json OUT

Standard library only; imports only its neighbours. The plan is `Plan` (butfor's evidence/plays.py) as JSON with
the paths as they are seen here, and per service `source` (the tree, read-only), `worktree` (where a private copy
of it goes), `artifacts` (files that its setup made in the tree, or null) and `data` ($DATA). `edges` and `inject`
are the paths of the recording proxy and of the code to inject, or null. A service's `shims` are its starters that
somebody made already (see `inject`); without them they are made here.
OUT gets `observation.json`, `bodies/`, `logs/`, `spool/`.
"""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False  # typing takes longer to load than all that is needed to start a service
if TYPE_CHECKING or __package__:
    from . import services, spawning
else:
    import services
    import spawning

if TYPE_CHECKING:
    from typing import Any

    from . import senders, stubs

    Json = dict[str, Any]

_RECENT = 32
_DYING_S = 0.5
"""How long a service that listens no more may take to be gone."""


class Play:
    """One play: `run` starts everything, sends the requests and stops everything, whatever happens."""

    def __init__(self, plan: Json, out: str) -> None:
        self.plan, self.out, self.spool = plan, out, f"{out}/spool"
        self.begin = time.monotonic()
        self.deadline = self.begin + float(plan.get("deadline_s") or 300)
        for folder in (f"{out}/bodies", f"{out}/logs", self.spool, f"{self.spool}/bodies"):
            os.makedirs(folder, exist_ok=True)
        for shared in (self.spool, f"{self.spool}/bodies"):
            os.chmod(shared, 0o1777)  # the recording proxies' files are ours, those of injected code the service's
        ports = services.Ports()
        self.services = [services.Service(s, out, ports.take(), ports.take()) for s in plan["services"]]
        self.ports: dict[str, int] = {name: ports.take() for name in plan.get("stubs") or {}}
        self.stubs: list[stubs.Stub] = []
        self.edges: list[spawning.Process] = []
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
        loaded_files = load("settling").loaded_files
        seen["loaded_files"] = {s.name: loaded_files(self.spool, s.name, s.worktree) for s in self.services}
        seen["logs"] = {s.name: f"logs/{s.name}.log" for s in self.services if os.path.exists(s.log)}
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
        program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "collectors.py")
        command = [*services.unprivileged(), sys.executable, "-I", "-B", program, str(port), self.spool]
        self._start_helper("the collector", command, f"{self.out}/logs/collector.log")
        self._wait_helper("the collector", port, f"{self.out}/logs/collector.log", 10)

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
            self._wait_helper("the recording proxy", service.front, f"{self.out}/logs/{service.name}.edge.log", 20)

    def _start_edge(self, service: services.Service) -> None:
        """Start the recording proxy in front of a service; it needs nothing of the service's environment."""
        command = [
            *services.unprivileged(), sys.executable, "-I", "-B", str(self.plan["edges"]),
            "--listen", f"127.0.0.1:{service.front}", "--target", f"127.0.0.1:{service.port}",
            "--spool", self.spool, "--service", service.name,
        ]  # fmt: skip
        self._start_helper("the recording proxy", command, f"{self.out}/logs/{service.name}.edge.log")

    def _start_helper(self, what: str, command: list[str], log: str) -> None:
        try:
            self.edges.append(spawning.spawn(command, log))
        except OSError as error:
            raise services.NotStarted(f"{what} did not start: {error}", infrastructure=True) from error

    def _wait_helper(self, what: str, port: int, log: str, seconds: float) -> None:
        """Until the helper that was started last listens."""
        listens, deadline = load("clients").listens, min(time.monotonic() + seconds, self.deadline)
        while not listens(port):
            if time.monotonic() > deadline or self.edges[-1].poll() is not None:
                raise services.NotStarted(f"{what} did not start: {services.tail(log)}", infrastructure=True)
            time.sleep(0.01)

    def _injected(self, service: services.Service, variables: dict[str, str]) -> dict[str, str]:
        """The service's variables with the recording code in them; unchanged (and noted) where there is none."""
        if not (service.plan.get("inject") and self.plan.get("inject")):
            return variables
        try:
            functions = bool(self.plan.get("functions"))
            return inject(str(self.plan["inject"]), service, self.out, variables, functions=functions)
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
            load("settling").settle(
                self.spool, {a["trace_id"] for a in self.sender.answers[-_RECENT:] if a.get("status")}
            )
        if self.collector:
            load("settling").await_exports(self.spool)

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
    package: str, service: services.Service, out: str, variables: dict[str, str], *, functions: bool
) -> dict[str, str]:
    """Variables that make the service's interpreter record itself: shims first on PATH, our folder on PYTHONPATH."""
    shims, venv = service.plan.get("shims"), service.plan.get("environment_path")
    if not shims:
        shims = f"{os.path.dirname(service.worktree)}/shims"
        _make_shims(package, shims, f"{venv}/bin" if venv else variables["PATH"])
    site = f"{package}/site"
    added = {
        "BUTFOR_SPOOL": f"{out}/spool", "BUTFOR_SERVICE": service.name, "BUTFOR_SITE": site,
        "BUTFOR_SOURCE_ROOT": service.worktree, "BUTFOR_REVISION": str(service.plan.get("revision") or ""),
        "BUTFOR_FUNCTIONS": "1" if functions else "", "BUTFOR_CONTEXT": str(service.plan.get("context") or ""),
        "PYTHONPATH": os.pathsep.join(part for part in (site, variables.get("PYTHONPATH", "")) if part),
        "PATH": os.pathsep.join((shims, variables["PATH"])),
    }  # fmt: skip
    return variables | {name: value for name, value in added.items() if value}


def _make_shims(package: str, folder: str, path: str) -> None:
    """Where nobody made them before: a reproduction by itself."""
    from pathlib import Path

    sys.path.insert(0, os.path.dirname(package))
    try:
        __import__("butfor_inject.shims", fromlist=["shims"]).make_shims(Path(folder), path)
    finally:
        sys.path.remove(os.path.dirname(package))


def play(plan: Json, out: str) -> Json:
    """Play `plan` and write `out/observation.json`; returns the same observation."""
    import json

    observation = Play(plan, out).run()
    with open(f"{out}/observation.json.tmp", "w", encoding="utf-8") as file:
        json.dump(observation, file)
    os.replace(f"{out}/observation.json.tmp", f"{out}/observation.json")
    return observation


def finish(plan: Json, out: str) -> None:
    """Play as the last thing that this process does."""
    play(plan, out)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)  # all is written: what the interpreter would tidy up goes with the sandbox


def main() -> None:
    """Play the plan that the arguments name."""
    import json
    import signal

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with open(sys.argv[1], encoding="utf-8") as file:
        plan = json.load(file)
    finish(plan, sys.argv[2])


if __name__ == "__main__":
    main()
