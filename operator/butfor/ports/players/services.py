"""Starting and ending the services of a play. Standard library only; imports little, to start services soon."""

from __future__ import annotations

import os
import time

TYPE_CHECKING = False  # typing takes longer to load than all that is needed to start a service
if TYPE_CHECKING or __package__:
    from . import copies, spawning
else:
    import copies
    import spawning

if TYPE_CHECKING:
    import socket as sockets
    from typing import Any

    Json = dict[str, Any]
else:
    import _socket as sockets  # what `socket` adds to it takes longer to load than all else here

become = copies.become

_FIRST_PORT = 18_000
ULIMIT_OFF = "ulimit() { return 0; }; export -f ulimit\n"
"""Put before a run script whose limits are lifted: `ulimit` then does nothing, in child shells too."""
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


class NotStarted(Exception):  # noqa: N818 - a state of the play, not a defect
    """A service could not be prepared or started; the text says which and how.

    `infrastructure`: it was our fault or the machine's, not the service's.
    """

    def __init__(self, reason: str, *, infrastructure: bool = False) -> None:
        super().__init__(reason)
        self.infrastructure = infrastructure


class Service:
    """One service of the plan: its ports (`front` is what clients use), environment, log and process group."""

    def __init__(self, plan: Json, out: str, port: int, front: int) -> None:
        self.plan, self.out, self.port, self.front = plan, out, port, front
        self.name: str = plan["name"]
        self.worktree, self.data = str(plan["worktree"]), str(plan["data"])
        self.log = f"{out}/logs/{self.name}.log"
        self.process: spawning.Process | None = None

    @property
    def directory(self) -> str:
        """Where scripts run: the service's folder inside its worktree."""
        return os.path.join(self.worktree, str(self.plan.get("directory") or "."))

    def copy_worktree(self) -> None:
        """Make a private, writable copy of the tree with fresh file times, and an empty $DATA."""
        if self.name not in copies.begun:
            trees = [t for t in (self.plan.get("source"), self.plan.get("artifacts")) if t and t != self.worktree]
            copies.copy(self.name, self.data, self.worktree, trees)
        if problem := copies.finish(self.name):
            raise NotStarted(f"the worktree of {self.name} cannot be copied: {problem}", infrastructure=True)

    def environment(self, urls: dict[str, str], case: str) -> dict[str, str]:
        """Variables of the service's scripts: PORT, DATA, WORKTREE, CASE, the others' <NAME>_URL, its own."""
        variables = {
            "PATH": _SYSTEM_PATH, "HOME": os.environ.get("HOME") or self.data, "LANG": "C.UTF-8",
            "USER": "sandbox", "PORT": str(self.port), "DATA": self.data, "WORKTREE": self.worktree,
            "CASE": case, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1", "GIT_OPTIONAL_LOCKS": "0",
            "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
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
            code = process.wait(max(seconds, 0.1))
        except TimeoutError:
            stop_groups([process], 0.0)
            raise NotStarted(f"prepare of {self.name} took longer than {seconds:.0f} s") from None
        if code != 0:
            raise NotStarted(f"prepare of {self.name} failed (exit {code}): {tail(self.log)}")

    def start(self, variables: dict[str, str]) -> None:
        """Start `run`; when it can serve is for the caller to find out."""
        limits = [] if self.plan.get("lift_limits") else limit_command(self.plan.get("limits") or {})
        script = ULIMIT_OFF + self.plan["run"] if self.plan.get("lift_limits") else self.plan["run"]
        self.process = self._bash(script, variables, limits)

    def check_alive(self) -> None:
        """Raise NotStarted where the service has ended by itself."""
        if self.process is None or self.process.poll() is not None:
            code = None if self.process is None else self.process.returncode
            raise NotStarted(f"{self.name} ended (exit {code}) before it was ready: {tail(self.log)}")

    def _bash(self, script: str, variables: dict[str, str], prefix: list[str] | None = None) -> spawning.Process:
        command = [*become(), *(prefix or []), "bash", "-e", "-o", "pipefail", "-c", script]
        try:
            with open(self.log, "ab"):
                os.chmod(self.log, 0o666)  # services open /dev/stdout, which is this file, by its name
            return spawning.spawn(command, self.log, environment=variables, folder=self.directory)
        except (OSError, ValueError) as error:
            raise NotStarted(f"{self.name} cannot be started: {error}") from error


def unprivileged() -> list[str]:
    """The command that gives up the right to become others."""
    return ["setpriv", *copies.NO_RIGHTS] if os.environ.get("SANDBOX_USER") else []


class Ports:
    """Ports of 127.0.0.1, the same in each play where the network is our own, so that answers are the same."""

    def __init__(self) -> None:
        self._next = _FIRST_PORT

    def take(self) -> int:
        """A port that nobody has: it is tried, because the kernel takes milliseconds to list its connections."""
        for port in range(self._next, self._next + 200):
            if _free(port):
                self._next = port + 1
                return port
        raise NotStarted("no free port on the loopback", infrastructure=True)


def _free(port: int) -> bool:
    probe = sockets.socket()
    try:
        probe.setsockopt(sockets.SOL_SOCKET, sockets.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
    except OSError:
        return False
    finally:
        probe.close()
    return True


def limit_command(limits: dict[str, int]) -> list[str]:
    """The command that sets a service's own limits (open_files, memory_mb, processes, file_mb) and runs the rest."""
    options = {
        "open_files": ("nofile", 1),
        "memory_mb": ("data", 1 << 20),
        "processes": ("nproc", 1),
        "file_mb": ("fsize", 1 << 20),
    }
    chosen = [f"--{options[k][0]}={int(v) * options[k][1]}" for k, v in sorted(limits.items()) if k in options]
    return ["prlimit", *chosen, "--"] if chosen else []


def url_name(service: str) -> str:
    """The variable that holds a service's address: `<NAME>_URL`, upper case, all but letters and digits as _."""
    return "".join(c if c.isalnum() else "_" for c in service).upper() + "_URL"


def stop_groups(processes: list[spawning.Process], grace: float) -> None:
    """End process groups: SIGTERM, up to `grace` seconds for all together, then SIGKILL."""
    import signal

    if grace > 0:
        _signal(processes, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while any(p.poll() is None for p in processes) and time.monotonic() < deadline:
        time.sleep(0.005)
    _signal(processes, signal.SIGKILL)
    for process in processes:
        process.wait()


def _signal(processes: list[spawning.Process], number: int) -> None:
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
                with open(f"/proc/{name}/stat", "rb") as file:
                    fields = file.read().rpartition(b")")[2].split()
            except OSError:
                continue
            if int(fields[3]) in sessions:
                ticks += sum(int(f) for f in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def tail(path: str, lines: int = 12) -> str:
    """The last lines of a log on one line."""
    try:
        with open(path, "rb") as file:
            file.seek(max(os.path.getsize(path) - 8192, 0))
            text = file.read().decode("utf-8", "replace")
    except OSError:
        return "no log"
    return " | ".join(line.strip() for line in text.strip().splitlines()[-lines:])[-1200:] or "nothing in the log"
