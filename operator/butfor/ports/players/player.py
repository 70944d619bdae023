"""Plays a plan: starts services from a fresh `prepare`, sends requests, writes down what came back.

    python player.py PLAN.json OUT

Standard library only; imports only its neighbours `clients` and `stubs`. The plan is `Plan` (butfor's
evidence/plays.py) as JSON with the paths as they are seen here, and per service `source` (the tree, read-only),
`worktree` (where a private copy goes) and `data` ($DATA). OUT gets `observation.json`, `bodies/`, `logs/`, `spool/`.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from butfor.ports.players import clients, stubs
else:
    import clients
    import stubs

Json = dict[str, Any]
_POLL_S = 0.02
_GRACE_S = 1.0
_FIRST_PORT = 18_000
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


class NotStarted(Exception):  # noqa: N818 - a state of the play, not a defect
    """A service could not be prepared or started; the text says which and how."""


class Service:
    """One service of the plan: its ports, environment, log and process group."""

    def __init__(self, plan: Json, out: Path, port: int, front: int) -> None:
        self.plan, self.out, self.port, self.front = plan, out, port, front
        self.name: str = plan["name"]
        self.worktree, self.data = Path(plan["worktree"]), Path(plan["data"])
        self.log = out / "logs" / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def directory(self) -> Path:
        """Where scripts run: the service's folder inside its worktree."""
        return self.worktree / str(self.plan.get("directory") or ".")

    def copy_worktree(self) -> None:
        """A private, writable copy of the tree with fresh file times, and an empty $DATA."""
        self.data.mkdir(parents=True, exist_ok=True)
        if self.plan.get("source") in (None, str(self.worktree)):
            return
        command = ["cp", "-a", "--no-preserve=timestamps,ownership", f"{self.plan['source']}/.", str(self.worktree)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NotStarted(f"infrastructure: the worktree of {self.name} cannot be copied: {done.stderr[:300]}")

    def environment(self, urls: dict[str, str], case: str) -> dict[str, str]:
        """The environment of the service's scripts (design.md: PORT, DATA, WORKTREE, CASE, <NAME>_URL)."""
        home = os.environ.get("HOME") or "/tmp"  # noqa: S108 - the sandbox's own
        variables = {
            "PATH": _SYSTEM_PATH, "HOME": home, "LANG": "C.UTF-8", "USER": "sandbox", "PORT": str(self.port),
            "DATA": str(self.data), "WORKTREE": str(self.worktree), "CASE": case, "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
        }  # fmt: skip
        if venv := self.plan.get("environment_path"):
            variables["VIRTUAL_ENV"] = venv
            variables["PATH"] = f"{venv}/bin:{_SYSTEM_PATH}"
        variables.update({name: url for name, url in urls.items() if name != url_name(self.name)})
        variables.update({str(k): str(v) for k, v in (self.plan.get("environment") or {}).items()})
        return variables

    def prepare(self, variables: dict[str, str], seconds: float) -> None:
        """Run `prepare` to its end."""
        script = self.plan.get("prepare") or ""
        if not script.strip():
            return
        process = self._bash(script, variables)
        try:
            code = process.wait(timeout=max(seconds, 0.1))
        except subprocess.TimeoutExpired:
            stop_groups([process], 0.0)
            raise NotStarted(f"prepare of {self.name} took longer than {seconds:.0f} s") from None
        if code != 0:
            raise NotStarted(f"prepare of {self.name} failed (exit {code}): {tail(self.log)}")

    def start(self, variables: dict[str, str]) -> None:
        """Start `run`; it is ready when `wait_ready` returns."""
        self.process = self._bash(self.plan["run"], variables)

    def wait_ready(self, deadline: float) -> None:
        """Poll the ready request until it is answered as expected; `deadline` is monotonic seconds."""
        ready = self.plan.get("ready") or {}
        path, expected = ready.get("path", "/"), int(ready.get("expect_status", 200))
        last = "it does not listen"
        while time.monotonic() < deadline:
            if self.process is None or (code := self.process.poll()) is not None:
                raise NotStarted(f"{self.name} ended (exit {code}) before it was ready: {tail(self.log)}")
            if listens(self.port):
                answer = clients.exchange(self.port, "GET", path, [("Accept", "*/*")], None, 5.0)
                if answer.status == expected:
                    return
                last = f"{path} answers {answer.status or answer.ended}, not {expected}"
            time.sleep(_POLL_S)
        raise NotStarted(f"{self.name} was not ready in time: {last}: {tail(self.log)}")

    def _bash(self, script: str, variables: dict[str, str]) -> subprocess.Popen[bytes]:
        try:
            with self.log.open("ab") as log:
                return subprocess.Popen(
                    ["bash", "-e", "-o", "pipefail", "-c", script], cwd=self.directory, env=variables,
                    stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip
        except OSError as error:
            raise NotStarted(f"{self.name} cannot be started: {error}") from error


class Play:
    """One play: `run` starts everything, sends the requests and stops everything, whatever happens."""

    def __init__(self, plan: Json, out: Path) -> None:
        self.plan, self.out = plan, out
        self.begin = time.monotonic()
        self.deadline = self.begin + float(plan.get("deadline_s") or 300)
        for name in ("bodies", "logs", "spool"):
            (out / name).mkdir(parents=True, exist_ok=True)
        ports = Ports()
        self.services = [Service(s, out, ports.take(), ports.take()) for s in plan["services"]]
        self.stubs: dict[str, int] = {name: ports.take() for name in plan.get("stubs") or {}}
        self.running: list[stubs.Stub] = []
        self.edges: list[subprocess.Popen[bytes]] = []
        saved = {n for r in plan.get("requests") or [] for n in r.get("save") or {}}
        self.memory = clients.Memory(saved)
        self.answers: list[Json] = []
        self.notes: list[str] = []
        self._lock = threading.Lock()

    def run(self) -> Json:
        """Play, and return the observation (paths relative to OUT)."""
        seen: Json = {"started": False, "reason": "", "infrastructure": False, "start_seconds": 0.0, "cpu_seconds": 0.0}
        try:
            self._start()
            seen["started"], seen["start_seconds"] = True, time.monotonic() - self.begin
            before = cpu_seconds(self._groups())
            self._send_all()
            seen["cpu_seconds"] = max(cpu_seconds(self._groups()) - before, 0.0)
            seen["reason"] = self._ended_early()
        except NotStarted as problem:
            reason = str(problem)
            seen["infrastructure"] = reason.startswith("infrastructure: ")
            seen["reason"] = reason.removeprefix("infrastructure: ")
        finally:
            self._stop()
        seen["loaded_files"] = {s.name: loaded_files(self.out / "spool", s.name, s.worktree) for s in self.services}
        seen["logs"] = {s.name: f"logs/{s.name}.log" for s in self.services if s.log.exists()}
        return seen | {"answers": self.answers, "notes": self.notes, "seconds": time.monotonic() - self.begin}

    def _start(self) -> None:
        for name, answers in (self.plan.get("stubs") or {}).items():
            if stub := stubs.start(self.stubs[name], answers):
                self.running.append(stub)
        urls = {url_name(name): f"http://127.0.0.1:{port}" for name, port in self.stubs.items()}
        for service in self.services:
            edged = bool(service.plan.get("edge") and self.plan.get("edges"))
            service.front = service.front if edged else service.port
            urls[url_name(service.name)] = f"http://127.0.0.1:{service.front}"
        for service in self.services:
            self._start_service(service, urls)

    def _start_service(self, service: Service, urls: dict[str, str]) -> None:
        service.copy_worktree()
        variables = service.environment(urls, str(self.plan.get("case") or ""))
        if service.front != service.port:
            self._start_edge(service)
        service.prepare(variables, self.deadline - time.monotonic())
        begun = time.monotonic()
        service.start(self._injected(service, variables) if service.plan.get("inject") else variables)
        service.wait_ready(min(begun + float(self.plan.get("start_timeout_s") or 60), self.deadline))
        if service.front != service.port:
            wait_listening(service.front, self.deadline)

    def _start_edge(self, service: Service) -> None:
        """Start the recording proxy in front of a service; it needs no environment of the service."""
        command = [
            sys.executable, "-I", "-B", str(self.plan["edges"]), "--listen", f"127.0.0.1:{service.front}",
            "--target", f"127.0.0.1:{service.port}", "--spool", str(self.out / "spool"), "--service", service.name,
        ]  # fmt: skip
        with (self.out / "logs" / f"{service.name}.edge.log").open("ab") as log:
            self.edges.append(
                subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
                )
            )

    def _injected(self, service: Service, variables: dict[str, str]) -> dict[str, str]:
        """The service's environment with the recording code in it; unchanged (and noted) where there is none."""
        if not self.plan.get("inject"):
            return variables
        variables = variables | {"BUTFOR_REVISION": str(service.plan.get("revision") or "")}
        return inject(Path(self.plan["inject"]), service, self.out, variables, self.notes)

    def _send_all(self) -> None:
        requests: list[Json] = self.plan.get("requests") or []
        for request in (r for r in requests if r["role"] == "before"):
            for iteration in range(int(request.get("repeat") or 1)):
                self._send(request, iteration)
        rest = [r for r in requests if r["role"] != "before"]
        turns = int(self.plan.get("repeat") or 1)
        todo = [
            (r, turn * n + i)
            for turn in range(turns)
            for r in rest
            for n in [int(r.get("repeat") or 1)]
            for i in range(n)
        ]
        clients_wanted = int(self.plan.get("concurrency") or 1)
        if clients_wanted <= 1:
            for request, iteration in todo:
                self._send(request, iteration)
        else:
            random.Random(int(self.plan.get("seed") or 0)).shuffle(todo)  # noqa: S311 - an order, not a secret
            self._send_concurrently(todo, clients_wanted)

    def _send_concurrently(self, todo: list[tuple[Json, int]], count: int) -> None:
        waiting: queue.SimpleQueue[tuple[Json, int]] = queue.SimpleQueue()
        for entry in todo:
            waiting.put(entry)

        def work() -> None:
            while True:
                try:
                    request, iteration = waiting.get_nowait()
                except queue.Empty:
                    return
                self._send(request, iteration)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(min(count, len(todo)))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _send(self, request: Json, iteration: int) -> None:
        """Send one request once and record its answer."""
        record: Json = {"id": request["id"], "role": request["role"], "iteration": iteration}
        content = Path(request["body"]).read_bytes() if request.get("body") else None
        problem = self._unsendable(request, content)
        if problem:
            self._record(record | {"skipped": problem, "complete": False})
            return
        trace, span = os.urandom(16).hex(), os.urandom(8).hex()
        headers = [
            (str(n), str(v))
            for n, v in request.get("headers") or []
            if str(n).lower() not in ("traceparent", "tracestate")
        ]
        headers = [*self.memory.headers(headers), ("traceparent", f"00-{trace}-{span}-01")]
        if content is not None and b"{{" in content:
            content = self.memory.fill(content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        left = self.deadline - time.monotonic()
        timeout = min(float(request.get("timeout_s") or 10), max(left, 0.05))
        target = self.memory.fill(request["target"])
        answer = clients.exchange(self._port(request["service"]), request["method"], target, headers, content, timeout)
        self.memory.save(request.get("save") or {}, answer)
        self._record(record | self._as_json(answer, trace))

    def _unsendable(self, request: Json, content: bytes | None) -> str:
        if time.monotonic() >= self.deadline:
            return "the play's deadline was reached"
        if self._port(request["service"]) == 0:
            return f"no service {request['service']}"
        parts = [request["target"], *(str(v) for _, v in request.get("headers") or [])]
        if content is not None and b"{{" in content:
            parts.append(content.decode("utf-8", "replace"))
        missing = self.memory.missing("\n".join(parts))
        return f"no answer gave a value for {missing}" if missing else ""

    def _as_json(self, answer: clients.Answer, trace: str) -> Json:
        body = None
        if answer.body:
            body = f"bodies/{hashlib.sha256(answer.body).hexdigest()}"
            if not (self.out / body).exists():
                (self.out / body).write_bytes(answer.body)
        return {
            "status": answer.status, "ended": answer.ended, "headers": answer.headers, "body": body,
            "body_bytes": answer.body_bytes, "complete": answer.complete, "seconds": answer.seconds,
            "start_ns": answer.start_ns, "trace_id": trace,
        }  # fmt: skip

    def _record(self, record: Json) -> None:
        with self._lock:
            self.answers.append(record)

    def _port(self, name: str) -> int:
        return next((s.front for s in self.services if s.name == name), self.stubs.get(name, 0))

    def _groups(self) -> set[int]:
        return {s.process.pid for s in self.services if s.process}

    def _ended_early(self) -> str:
        ended = [
            f"{s.name} ended (exit {s.process.returncode})"
            for s in self.services
            if s.process and s.process.poll() is not None
        ]
        return "; ".join(ended)

    def _stop(self) -> None:
        stop_groups([s.process for s in self.services if s.process], _GRACE_S)
        stop_groups(self.edges, _GRACE_S)
        for stub in self.running:
            stub.stop()


class Ports:
    """Ports of 127.0.0.1, the same in each play where the network is our own, so that answers are the same."""

    def __init__(self) -> None:
        self._next = _FIRST_PORT

    def take(self) -> int:
        """A port that nobody listens on."""
        for port in range(self._next, self._next + 200):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            self._next = port + 1
            return port
        raise NotStarted("infrastructure: no free port on the loopback")


def url_name(service: str) -> str:
    """The variable that holds a service's address: `<NAME>_URL`, upper case, everything else than letters as _."""
    return "".join(c if c.isalnum() else "_" for c in service).upper() + "_URL"


def listens(port: int) -> bool:
    """Whether something accepts connections on 127.0.0.1:`port`."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_listening(port: int, deadline: float) -> None:
    """Wait until our own proxy listens; `deadline` is monotonic seconds."""
    while not listens(port):
        if time.monotonic() > deadline:
            raise NotStarted("infrastructure: the recording proxy did not start")
        time.sleep(_POLL_S)


def stop_groups(processes: list[subprocess.Popen[bytes]], grace: float) -> None:
    """End process groups: SIGTERM, up to `grace` seconds together, then SIGKILL."""
    _signal(processes, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while any(p.poll() is None for p in processes) and time.monotonic() < deadline:
        time.sleep(0.005)
    _signal(processes, signal.SIGKILL)
    for process in processes:
        process.wait()


def _signal(processes: list[subprocess.Popen[bytes]], number: int) -> None:
    for process in processes:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            continue


def cpu_seconds(sessions: set[int]) -> float:
    """CPU time that all processes of these sessions (and their ended, awaited children) have used so far."""
    ticks = 0
    for name in os.listdir("/proc"):
        if name.isdecimal():
            try:
                fields = Path(f"/proc/{name}/stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue
            if int(fields[3]) in sessions:
                ticks += sum(int(f) for f in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def inject(package: Path, service: Service, out: Path, variables: dict[str, str], notes: list[str]) -> dict[str, str]:
    """Variables that make the service's interpreter record itself: shims first on PATH, our folder on PYTHONPATH."""
    sys.path.insert(0, str(package.parent))
    try:
        from butfor_inject import shims  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415

        folder = out / "shims" / service.name
        folder.mkdir(parents=True, exist_ok=True)
        shims.make_shims(folder, variables["PATH"])
    except (ImportError, AttributeError, OSError) as error:
        notes.append(f"{service.name} runs without injection: {error}")
        return variables
    finally:
        sys.path.remove(str(package.parent))
    site = str(package / "site")
    path = variables.get("PYTHONPATH")
    return variables | {
        "PATH": f"{folder}:{variables['PATH']}", "PYTHONPATH": f"{site}:{path}" if path else site,
        "BUTFOR_SPOOL": str(out / "spool"), "BUTFOR_SERVICE": service.name,
        "BUTFOR_SOURCE_ROOT": str(service.worktree),
    }  # fmt: skip


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
    return sorted("<worktree>" + f[len(root) :] if f == root or f.startswith(root + "/") else f for f in found)


def tail(path: Path, lines: int = 12) -> str:
    """The last lines of a log on one line."""
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - 8192, 0))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return "no log"
    return " | ".join(line.strip() for line in text.strip().splitlines()[-lines:])[-1200:] or "nothing in the log"


def play(plan: Json, out: Path) -> Json:
    """Play `plan` and write `out/observation.json`; returns the same observation."""
    observation = Play(plan, out).run()
    temporary = out / "observation.json.tmp"
    temporary.write_text(json.dumps(observation))
    temporary.replace(out / "observation.json")
    shutil.rmtree(out / "shims", ignore_errors=True)
    return observation


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    play(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
