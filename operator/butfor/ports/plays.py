"""Plays on the host: maps a plan's paths into the sandbox, runs the player there, reads back what it saw.

What comes back is hostile: bounded, regular files only, and no path leaves the play's folder.
"""

from __future__ import annotations

import compileall
import json
import marshal
import os
import re
import shutil
import stat
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from butfor.errors import InfrastructureError
from butfor.evidence.plays import Observation, Plan, PlannedService
from butfor.ports import environments, interpreters, writers
from butfor.ports.injections import injection, shims
from butfor.ports.kernels import Kernel
from butfor.ports.players import copies
from butfor.ports.recordings import Recording
from butfor.ports.sandboxes import HOME, Exit, Limits, Sandbox
from butfor.ports.worktrees import git_folders

_TOOLS = Path(__file__).parent
_MAXIMUM_OBSERVATION = 256 << 20
_MAXIMUM_FILES = 200_000
_BODY = re.compile(r"^bodies/[0-9a-f]{64}$")
_INJECT = "/srv/.play/inject/butfor_inject"
_MARGIN_S = 20.0
"""How long after the plan's own deadline the sandbox is cut: the player should have ended by itself."""


def play(
    plan: Plan, *, sandbox: Sandbox, folder: Path, keep_logs: bool = True, limits: Limits | None = None,
    kernel: Kernel | None = None, ready: Callable[[], None] | None = None,
) -> Observation:  # fmt: skip
    """Play `plan` in `sandbox`; files of the observation are in `folder`, which is made and belongs to the caller.

    `ready` is called while the sandbox starts, and returns when the services' trees are complete.
    `kernel`: its agent watches the services; what it saw is in `folder/kernel`, which the sandbox cannot reach.
    Never raises for what foreign code does; our own failures give `infrastructure=True` with the reason.
    """
    folder = folder.resolve()
    out = folder / "out"
    for leftover in ("out", "bodies", "scratch"):
        shutil.rmtree(folder / leftover, ignore_errors=True)
    out.mkdir(parents=True)
    limits = limits or Limits(seconds=plan.deadline_s + _MARGIN_S)
    with Recording(kernel, folder / "kernel") as recording:
        return _watched(_played(plan, sandbox, folder, limits, recording, ready, keep_logs=keep_logs), recording)


def _played(
    plan: Plan, sandbox: Sandbox, folder: Path, limits: Limits, recording: Recording,
    ready: Callable[[], None] | None, *, keep_logs: bool,
) -> Observation:  # fmt: skip
    out = folder / "out"
    try:
        done = _run(plan, sandbox, folder, out, limits, recording, ready)
        sweep(out)
    except (InfrastructureError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return _failed(reason, out, sandbox, folder, infrastructure=True)
    finally:
        for leftover in ("bodies", "scratch"):
            shutil.rmtree(folder / leftover, ignore_errors=True)
        (folder / "plan").unlink(missing_ok=True)
    if not keep_logs:
        shutil.rmtree(out / "logs", ignore_errors=True)
    return _read(out, done, sandbox, folder)


def _watched(observation: Observation, recording: Recording) -> Observation:
    return observation.model_copy(
        update={"kernel_recording": recording.end(services_only=True, until_ns=observation.stopped_ns)}
    )


def _failed(
    reason: str, out: Path, sandbox: Sandbox, folder: Path, *, infrastructure: bool, seconds: float = 0.0
) -> Observation:
    (out / "spool").mkdir(exist_ok=True)
    return Observation(
        folder=folder, spool=out / "spool", started=False, reason=reason, infrastructure=infrastructure,
        seconds=seconds, sandbox=sandbox.describe(),
    )  # fmt: skip


class _Mapping:
    """Where the plan's host files are seen inside; grows while the plan is translated."""

    def __init__(self, sandbox: Sandbox, folder: Path, *, publishing: bool = False) -> None:
        self.sandbox, self.folder, self._publishing = sandbox, folder, publishing
        self.read_only: dict[str, Path] = {}
        self.scratch: dict[Path, str] = {}
        self.sizes: dict[Path, int] = {}
        self.bodies = folder / "bodies"
        self.bodies.mkdir()
        self.bodies.chmod(0o755)
        self.inject: Path | None = None
        self._copied: dict[str, str] = {}

    def show(self, host: Path, wanted: str) -> str:
        """Show a host file or folder read-only at `wanted`; the same one may be shown at several places."""
        real = host.resolve()
        inside = self.sandbox.inside(real, wanted)
        if self.read_only.setdefault(inside, real) != real:
            raise InfrastructureError(f"{inside} is wanted for two different folders")
        return inside

    def plan(self, plan: Plan) -> dict[str, Any]:
        """The plan as the player reads it."""
        document = plan.model_dump(mode="json")
        environment = next((s.environment_path for s in plan.services if s.inject and s.environment_path), None)
        python = environments.executable_of(environment) if environment else None
        self.inject = injection(python or interpreters.interpreter(sys.executable).executable)
        document["services"] = [self._service(s) for s in plan.services]
        for request in document["requests"]:
            request["body"] = self._body(request["body"])
        for answer in (a for answers in document["stubs"].values() for a in answers):
            answer["body"] = self._body(answer["body"])
        self.show(self.bodies, "/srv/.play/bodies")
        if plan.case is not None:
            document["case"] = self.show(plan.case, "/srv/.play/case")
        self._tools(document)
        return document

    def _body(self, body: str | None) -> str | None:
        """A body's place inside; copied, because files of a private bundle are closed to the sandbox's user."""
        if body is None:
            return None
        if body not in self._copied:
            copy = self.bodies / str(len(self._copied))
            shutil.copyfile(body, copy)
            copy.chmod(0o644)
            self._copied[body] = self.sandbox.inside(copy, f"/srv/.play/bodies/{copy.name}")
        return self._copied[body]

    def _service(self, service: PlannedService) -> dict[str, Any]:
        name = service.name
        top = self.sandbox.inside(self.folder / "scratch" / name, f"/srv/{name}")
        self.scratch[self.folder / "scratch" / name] = top
        if megabytes := 0 if service.lift_limits else service.limits.get("disk_mb", 0):
            data = self.folder / "scratch" / name / "data"
            self.scratch[data], self.sizes[data] = f"{top}/data", megabytes << 20
        places = {
            "source": self.show(service.worktree, f"/srv/.play/sources/{name}"),
            "worktree": f"{top}/worktree", "data": f"{top}/data", "environment_path": None,
        }  # fmt: skip
        for git in git_folders(service.worktree):  # for services that ask git for their version
            self.show(git, str(git))
        if service.environment_path is not None:
            places |= self._environment(name, service.environment_path)
        if service.inject:
            places["shims"] = self._shims(name, service.environment_path)
        if self._publishing and service.inject:
            places["context"] = self._context(name, service.environment_path)
        return service.model_dump(mode="json") | places

    def _environment(self, service: str, environment: Path) -> dict[str, str | None]:
        artifacts = environments.artifacts_of(environment)
        for prefix in environments.prefixes_of(environment):
            self.show(prefix, str(prefix))
        return {
            "environment_path": self.show(environment, environments.environment_inside(service)),
            "artifacts": self.show(artifacts, f"/srv/.play/artifacts/{service}") if artifacts else None,
        }

    def _shims(self, service: str, environment: Path | None) -> str | None:
        """Programs first on PATH that start the service's Python recording; None where they are made inside."""
        if self.inject is None or environment is None:
            return None
        folder = shims(environment / "bin", self.sandbox.inside(self.inject, _INJECT) + "/site")
        return self.show(folder, f"/srv/.play/shims/{service}") if folder else None

    def _context(self, service: str, environment: Path | None) -> str | None:
        """Where the service finds what publishes its spans to the kernel's agent; None where it cannot be built."""
        python = environments.executable_of(environment) if environment else None
        python = python or interpreters.interpreter(sys.executable).executable
        try:
            return self.show(writers.built(str(python)), f"/srv/.play/context/{service}")
        except InfrastructureError:
            # said where it counts: processes.arrow has for each process that it publishes nothing
            return None

    def _tools(self, document: dict[str, Any]) -> None:
        """Our own programs: the player, the recording proxy, the code to inject."""
        self.show(_compiled(_TOOLS / "players"), "/srv/.play/players")
        document["edges"] = self.show(_compiled(_TOOLS / "edges"), "/srv/.play/edges")
        document["inject"] = self.show(self.inject, _INJECT) if self.inject else None
        for prefix in interpreters.interpreter(sys.executable).binds():
            self.show(prefix, str(prefix))


@cache
def _compiled(folder: Path) -> Path:
    """Our programs with their bytecode, as far as their folder can be written: a run must not compile them again."""
    compileall.compile_dir(folder, maxlevels=0, quiet=2)
    return folder


def _run(
    plan: Plan, sandbox: Sandbox, folder: Path, out: Path, limits: Limits, recording: Recording,
    ready: Callable[[], None] | None,
) -> Exit:  # fmt: skip
    mapping = _Mapping(sandbox, folder, publishing=recording.wanted)
    document = folder / "plan"
    planned = mapping.plan(plan)
    document.write_bytes(marshal.dumps(planned))
    document.chmod(0o644)
    python = str(interpreters.interpreter(sys.executable).executable)
    players = sandbox.inside(_TOOLS / "players", "/srv/.play/players")
    inside = sandbox.inside(out, "/srv/.play/out")
    home = sandbox.inside(folder / "scratch" / "home", HOME)
    if sandbox.kind == "none":
        mapping.scratch[Path(home)] = home
    environment = {"HOME": home, copies.VARIABLE: _copies(planned["services"])}
    return sandbox.run(
        # a small file, whose own bytecode is not cached: what runs modules takes longer to load than that to compile
        [python, "-E", "-s", "-S", "-B", f"{players}/play.py", mapping.show(document, "/srv/.play/plan"), inside],
        env=environment, cwd=players, stdout=folder / "player.log", limits=limits,
        read_only=[(host, place) for place, host in mapping.read_only.items()],
        writable={out: inside}, scratch=mapping.scratch, sizes=mapping.sizes, driver=True,
        started=recording.watch if recording.wanted else None, ready=ready,
    )  # fmt: skip


def _copies(services: list[dict[str, Any]]) -> str:
    """What the player begins with; where a place cannot be written so it does that later."""
    rows = [
        [one["name"], one["data"], one["worktree"], *(one[t] for t in ("source", "artifacts") if one.get(t))]
        for one in services
    ]
    return "\n".join("\t".join(row) for row in rows if not any(set("\t\r\n") & set(field) for field in row))


def sweep(folder: Path) -> None:
    """Make a folder that foreign code wrote safe to read: no links, devices or odd modes; ours to remove.

    Links are removed, not followed: a reader would be led to files of the host.
    """
    count = 0
    for parent, folders, names in os.walk(folder, topdown=True):
        for name in [*folders, *names]:
            path = Path(parent, name)
            mode = path.lstat().st_mode
            count += 1
            if stat.S_ISDIR(mode):
                path.chmod(0o755)
            elif stat.S_ISREG(mode) and count <= _MAXIMUM_FILES:
                path.chmod(0o644)
            else:
                path.unlink()


def _read(out: Path, done: Exit, sandbox: Sandbox, folder: Path) -> Observation:
    if done.cut:
        reason = f"the play was cut off by its {done.cut} limit"
        return _failed(reason, out, sandbox, folder, infrastructure=False, seconds=done.seconds)
    try:
        with (out / "observation.json").open("rb") as file:
            # a record that is cut at the bound is no JSON, and so refused
            document = json.loads(file.read(_MAXIMUM_OBSERVATION))
        (out / "spool").mkdir(exist_ok=True)
        return _observation(document, out, sandbox, folder)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ValidationError) as error:
        said = f"{str(error).splitlines()[0][:200]}: {_tail(folder / 'player.log')}"
        reason = f"the player's record cannot be read: {said}"
        return _failed(reason, out, sandbox, folder, infrastructure=True, seconds=done.seconds)


def _observation(document: dict[str, Any], out: Path, sandbox: Sandbox, folder: Path) -> Observation:
    for answer in document["answers"]:
        if answer.get("body") is not None:
            answer["body"] = _inside(out, answer["body"], _BODY)
    logs = {str(name): out / "logs" / f"{name}.log" for name in document.pop("logs")}
    return Observation(
        **document, folder=folder, spool=out / "spool", sandbox=sandbox.describe(),
        logs={name: path for name, path in logs.items() if path.parent == out / "logs" and path.is_file()},
    )  # fmt: skip


def _inside(out: Path, name: str, form: re.Pattern[str]) -> Path:
    if not form.match(name) or not (out / name).is_file():
        raise ValueError("it names a file that is not there")
    return out / name


def _tail(log: Path) -> str:
    try:
        return " | ".join(log.read_text("utf-8", "replace").strip().splitlines()[-4:])[-600:]
    except OSError:
        return "no log of the player"
