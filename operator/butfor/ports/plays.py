"""Plays on the host: maps a plan's paths into the sandbox, runs the player there, reads back what it saw.

What comes back is hostile: bounded, regular files only, and no path leaves the play's folder.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from butfor.errors import InfrastructureError
from butfor.evidence.plays import Observation, Plan, PlannedService
from butfor.ports import environments, interpreters
from butfor.ports.sandboxes import Exit, Limits, Sandbox

_TOOLS = Path(__file__).parent
_MAXIMUM_OBSERVATION = 256 << 20
_MAXIMUM_FILES = 200_000
_BODY = re.compile(r"^bodies/[0-9a-f]{64}$")
_MARGIN_S = 20.0
"""How long after the plan's own deadline the sandbox is cut: the player should have ended by itself."""


def play(
    plan: Plan, *, sandbox: Sandbox, folder: Path, keep_logs: bool = True, limits: Limits | None = None
) -> Observation:
    """Play `plan` in `sandbox`; files of the observation are in `folder`, which is made and belongs to the caller.

    Never raises for what foreign code does; our own failures give `infrastructure=True` with the reason.
    """
    folder = folder.resolve()
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    mapping = _Mapping(sandbox, folder)
    (folder / "plan.json").write_text(json.dumps(mapping.plan(plan)))
    try:
        done = _run(mapping, sandbox, folder, out, limits or Limits(seconds=plan.deadline_s + _MARGIN_S))
    except InfrastructureError as error:
        return Observation(folder=folder, spool=out / "spool", started=False, reason=str(error), infrastructure=True)
    finally:
        shutil.rmtree(folder / "scratch", ignore_errors=True)
        (folder / "plan.json").unlink(missing_ok=True)
    sweep(out)
    if not keep_logs:
        shutil.rmtree(out / "logs", ignore_errors=True)
    return _read(out, done, sandbox, folder)


class _Mapping:
    """Where the plan's host files are seen inside; grows while the plan is translated."""

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        self.sandbox, self.folder = sandbox, folder
        self.read_only: dict[Path, str] = {}
        self.scratch: dict[Path, str] = {}

    def show(self, host: Path, wanted: str) -> str:
        """Show a host file or folder read-only inside."""
        inside = self.sandbox.inside(host.resolve(), wanted)
        self.read_only[host.resolve()] = inside
        return inside

    def plan(self, plan: Plan) -> dict[str, Any]:
        """The plan as the player reads it."""
        document = plan.model_dump(mode="json")
        document["services"] = [self._service(s) for s in plan.services]
        for i, request in enumerate(plan.requests):
            if request.body is not None:
                document["requests"][i]["body"] = self.show(request.body, f"/srv/play/requests/{i}")
        for name, answers in plan.stubs.items():
            for i, answer in enumerate(answers):
                if answer.body is not None:
                    document["stubs"][name][i]["body"] = self.show(answer.body, f"/srv/play/stubs/{name}/{i}")
        if plan.case is not None:
            document["case"] = self.show(plan.case, "/srv/play/case")
        self._tools(document)
        return document

    def _service(self, service: PlannedService) -> dict[str, Any]:
        name = service.name
        top = self.sandbox.inside(self.folder / "scratch" / name, f"/srv/{name}")
        self.scratch[self.folder / "scratch" / name] = top
        places = {
            "source": self.show(service.worktree, f"/srv/play/sources/{name}"),
            "worktree": f"{top}/worktree", "data": f"{top}/data", "environment_path": None,
        }  # fmt: skip
        if service.environment_path is not None:
            places |= self._environment(name, service.environment_path)
        return service.model_dump(mode="json") | places

    def _environment(self, service: str, environment: Path) -> dict[str, str | None]:
        artifacts = environments.artifacts_of(environment)
        for prefix in environments.prefixes_of(environment):
            self.show(prefix, str(prefix))
        return {
            "environment_path": self.show(environment, environments.environment_inside(service)),
            "artifacts": self.show(artifacts, f"/srv/play/artifacts/{service}") if artifacts else None,
        }

    def _tools(self, document: dict[str, Any]) -> None:
        """Our own programs: the player, the recording proxy, the code to inject."""
        self.show(_TOOLS / "players", "/srv/play/players")
        edges = _TOOLS / "edges.py"
        document["edges"] = self.show(edges, "/srv/play/edges.py") if edges.is_file() else None
        found = find_spec("butfor_inject")
        package = Path(found.origin).parent if found and found.origin else None
        document["inject"] = self.show(package, "/srv/play/inject/butfor_inject") if package else None
        for prefix in interpreters.interpreter(sys.executable).binds():
            self.show(prefix, str(prefix))


def _run(mapping: _Mapping, sandbox: Sandbox, folder: Path, out: Path, limits: Limits) -> Exit:
    python = str(interpreters.interpreter(sys.executable).executable)
    player = sandbox.inside(_TOOLS / "players", "/srv/play/players") + "/player.py"
    plan = mapping.show(folder / "plan.json", "/srv/play/plan.json")
    inside = sandbox.inside(out, "/srv/play/out")
    home = sandbox.inside(folder / "scratch" / "home", "/tmp/home")  # noqa: S108 - inside, a tmpfs of its own
    return sandbox.run(
        [python, "-E", "-s", "-S", "-B", player, plan, inside],
        env={"HOME": home}, cwd="/", stdout=folder / "player.log", limits=limits,
        read_only=mapping.read_only, writable={out: inside}, scratch=mapping.scratch,
    )  # fmt: skip


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
    spool = out / "spool"
    spool.mkdir(exist_ok=True)
    if done.cut:
        reason = f"the play was cut off by its {done.cut} limit"
        return Observation(
            folder=folder, spool=spool, started=False, reason=reason, seconds=done.seconds, sandbox=sandbox.describe()
        )
    path = out / "observation.json"
    try:
        with path.open("rb") as file:
            # a record that is cut at the bound is no JSON, and so refused
            document = json.loads(file.read(_MAXIMUM_OBSERVATION))
        return _observation(document, out, sandbox, folder)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ValidationError) as error:
        reason = (
            f"the player's record cannot be read: {str(error).splitlines()[0][:200]}: {_tail(folder / 'player.log')}"
        )
        return Observation(
            folder=folder, spool=spool, started=False, reason=reason, infrastructure=True, seconds=done.seconds,
            sandbox=sandbox.describe(),
        )  # fmt: skip


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
