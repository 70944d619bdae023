"""The command that is captured: its port, its entry, and the doors of `butfor_inject` into its interpreters."""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

from butfor.errors import InfrastructureError, UserError

_PORT = re.compile(r"\$(?:PORT\b|\{PORT\})")
_PYTHON = re.compile(r"^python(?:\d(?:\.\d+)?)?$")
_ISOLATING = re.compile(r"^-[bBdhiOqRsuvVxEIPS]*[EIS]")
_VALUED = re.compile(r"^-[A-Za-z]*[WX]$|^--check-hash-based-pycs$")
_SCRIPTED = re.compile(r"^-[A-Za-z]*[cm]|^-$")


@dataclass(frozen=True)
class Command:
    """What to run. `port` is the service's own where it is known, `front` the edge's; `wrapped`: through run.py."""

    argv: list[str]
    port: int | None = None
    front: int | None = None
    wrapped: bool = False
    directory: Path | None = None
    """Where it differs from the capture's own."""
    environment: dict[str, str] = field(default_factory=dict)


def plan(argv: list[str], listen: int | None, target: int | None, *, uses_port: bool = False) -> Command:
    """Where the edge stands: `$PORT` in the command is a port of ours; else `--listen` and `--target` name both.

    `uses_port`: the command is known to read PORT from its environment.
    """
    mentioned = uses_port or any(_PORT.search(argument) for argument in argv)
    if listen is not None and target is None and not mentioned:
        raise UserError("--listen needs the service's own port: add --target PORT, or write '$PORT' in the command")
    if listen is not None and listen == target:
        raise UserError("--listen and --target are the same port; the edge and the service need one each")
    if not mentioned and target is None:
        return Command(isolated(argv))
    port = target or free_port()
    written = [_PORT.sub(str(port), argument) for argument in argv]
    return Command(isolated(written), port, listen or free_port(), environment={"PORT": str(port)})


def moved(command: Command, port: int) -> Command | None:
    """The command with the service on another port and an edge where it was; None where the port is not in it."""
    number = re.compile(rf"(?<!\d){port}(?!\d)")
    if not any(number.search(argument) for argument in command.argv[1:]):
        return None
    other = free_port()
    argv = [command.argv[0], *(number.sub(str(other), argument) for argument in command.argv[1:])]
    return replace(command, argv=argv, port=other, front=port)


def wrapped(command: Command) -> Command | None:
    """The command with its Python entry started by our own runner; None where that was done or it is no Python."""
    if command.wrapped or not command.argv:
        return None
    real = shutil.which(command.argv[0])
    if real is None:
        return None
    if _PYTHON.match(Path(real).name):
        return replace(command, argv=_run(real, command.argv[1:]), wrapped=True)
    interpreter = shebang(Path(real))
    if interpreter is None:
        return None
    return replace(command, argv=_run(interpreter[0], [*interpreter[1:], real, *command.argv[1:]]), wrapped=True)


def entered(command: Command, pid: int | None) -> Command | None:
    """The Python process that a shell or a supervisor started in the end, to be started by our runner instead."""
    if pid is None or command.wrapped:
        return None
    try:
        argv = [os.fsdecode(a) for a in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]]
        variables = [os.fsdecode(v) for v in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if b"=" in v]
        program, directory = Path(f"/proc/{pid}/exe").readlink(), Path(f"/proc/{pid}/cwd").readlink()
    except OSError:  # it ended, or is another user's
        return None
    if not argv or not _PYTHON.match(program.name):
        return None
    real = argv[0] if "/" in argv[0] and _PYTHON.match(Path(argv[0]).name) else str(program)
    environment = {name: value for name, _, value in (v.partition("=") for v in variables)}
    return replace(command, argv=_run(real, argv[1:]), wrapped=True, directory=directory, environment=environment)


def isolated(argv: list[str]) -> list[str]:
    """An interpreter given by its path that ignores its environment (-I, -E, -S) is started by our runner."""
    if not argv or "/" not in argv[0] or not _PYTHON.match(Path(argv[0]).name):
        return argv
    skip = False
    for argument in argv[1:]:
        if skip:
            skip = False
        elif not argument.startswith("-") or _SCRIPTED.match(argument):
            break
        elif _ISOLATING.match(argument):
            return _run(argv[0], argv[1:])
        else:
            skip = _VALUED.match(argument) is not None
    return argv


def _run(interpreter: str, arguments: list[str]) -> list[str]:
    return [interpreter, "-I", "-S", str(inject_package() / "run.py"), "--choose", *arguments]


def shebang(path: Path) -> list[str] | None:
    """The Python interpreter, with its options, that a script names in its first line."""
    try:
        with path.open("rb") as file:
            first = file.readline(512).decode("utf-8", "replace").strip()
    except OSError:
        return None
    words = first[2:].split() if first.startswith("#!") else []
    if words and Path(words[0]).name == "env":
        words = [shutil.which(words[1]) or "", *words[2:]] if len(words) > 1 else []
    return words if words and _PYTHON.match(Path(words[0]).name) else None


def python_of(argv: list[str]) -> str | None:
    """The interpreter that a command starts with, where that can be told."""
    real = shutil.which(argv[0]) if argv else None
    if real is None:
        return None
    found = [real] if _PYTHON.match(Path(real).name) else shebang(Path(real))
    return found[0] if found and Path(found[0]).is_file() else None


def inject_package() -> Path:
    """The folder of `butfor_inject`."""
    found = find_spec("butfor_inject")
    if found is None or found.origin is None:
        raise InfrastructureError("butfor-inject is not installed beside butfor; install both")
    return Path(found.origin).parent


def environment(
    base: Mapping[str, str], spool: Path, service: str, *, roots: list[Path], revision: str, otlp: str, shims: Path
) -> dict[str, str]:
    """The environment to start a service in: the caller's own, our doors, and where an SDK finds our receiver.

    `otlp` is the HTTP receiver's URL. An exporter that the caller configured keeps its endpoint.
    """
    from butfor_inject import shims as doors  # noqa: PLC0415 - standard library only; needed for this command alone

    doors.make_shims(shims, base.get("PATH", os.defpath))
    ours = doors.environment(
        inject_package() / "site",
        spool,
        service,
        shims=shims,
        path=base.get("PATH", os.defpath),
        pythonpath=base.get("PYTHONPATH", ""),
        source_roots=roots,
        revision=revision,
        functions=True,
    )
    exporter = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": otlp,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_SERVICE_NAME": service,
    }
    if any(key.startswith("OTEL_EXPORTER_OTLP") for key in base):
        exporter = {"OTEL_SERVICE_NAME": service}
    return {**exporter, **base, **ours}


def free_port() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])
