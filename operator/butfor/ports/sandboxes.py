"""Where foreign code runs: an unprivileged user in namespaces of its own, with limits and a deadline.

`detect()` finds the strongest kind that this machine allows:

    root   bubblewrap started by root, then setpriv to an unused user id without any capability; a program of ours
           that drives foreign code (the player) gets another user id, so that its record cannot be forged
    user   bubblewrap in a user namespace
    none   no namespaces: limits and deadline only; `describe()` says that it was NOT isolated

Inside: /usr and what is listed, read-only; loopback only unless `network`; /tmp and HOME in memory.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from butfor.errors import InfrastructureError, UserError
from butfor.ports.mounts import HOME, Mounts
from butfor.ports.watches import Exit, Limits, watch

Kind = Literal["root", "user", "none"]
SETUP_USER = 64617
"""The user id of runs that share a cache between them (`shared_user`)."""
_DRIVER_RIGHTS = ",+setuid,+setgid,+kill"
_BECOME = """
[ -z "${SANDBOX_USER-}" ] || exec setpriv --reuid="$SANDBOX_USER" --regid="$SANDBOX_USER" --clear-groups \\
    --inh-caps=-all --ambient-caps=-all -- true
"""
_FIRST_USER, _USERS = 300_000, 200_000
"""Ids that no distribution hands out; one per run, because RLIMIT_NPROC counts per user, not per run."""
_COUNTER = itertools.count()
_WAITING = ["/bin/sh", "-c", 'read -r _ && exec "$@" </dev/null', "-"]
"""Becomes the command, with the same process id, once it is given a line."""


@dataclass(frozen=True)
class Sandbox:
    """One way to run foreign code. `inside` says where a host path is seen by what runs."""

    kind: Kind
    why: str = ""
    bwrap: str = "bwrap"
    keeps_rights: bool = True
    """Whether a process of another user may keep the capabilities to become a third one (not on every machine)."""

    @property
    def separates(self) -> bool:
        """Whether a driver of foreign code has a user id of its own."""
        return self.kind == "root" and self.keeps_rights

    def shortcomings(self) -> list[str]:
        """What foreign code could do here that it should not, a line each, for a report."""
        if self.kind == "none":
            return [self.describe()]
        shared = "the service and the program that drives it share a user id in the sandbox: it could forge its result"
        return [] if self.separates else [shared]

    def describe(self) -> str:
        """One line for a report: how runs were isolated, or that they were not."""
        if self.kind == "root":
            return "bubblewrap: unprivileged user, own mount, pid, ipc and network namespaces (loopback only)"
        if self.kind == "user":
            return "bubblewrap: user namespace, own mount, pid, ipc and network namespaces (loopback only)"
        return f"NOT isolated ({self.why}): limits and deadline only"

    def inside(self, host: Path, wanted: str) -> str:
        """The path under which `host` is seen inside, when it is mapped to `wanted`."""
        return str(host) if self.kind == "none" else wanted

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str,
        stdout: Path,
        read_only: Mapping[Path, str] | Sequence[tuple[Path, str]] | None = None,
        writable: Mapping[Path, str] | None = None,
        scratch: Mapping[Path, str] | None = None,
        sizes: Mapping[Path, int] | None = None,
        network: bool = False,
        shared_user: bool = False,
        driver: bool = False,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        started: Callable[[int], None] | None = None,
        ready: Callable[[], None] | None = None,
    ) -> Exit:
        """Run `argv` to its end, its output in `stdout` (host path); everything it started is gone afterwards.

        `read_only` (also as pairs: one may be seen at several places) and `writable` map host paths to paths inside;
        `scratch` paths are folders in memory (a host folder where nothing is isolated), of `sizes` bytes where those
        name them, outer ones first. `cwd` is an inside path.
        Writable host folders must be private to the caller: all in them is given to the run's user.
        `driver`: `argv` is a program of ours that starts foreign code; where users can be told apart it has one of
        its own and may become the one named by the variable SANDBOX_USER.
        `started` is told the process id of the outermost process, which waits until it returns.
        `ready` is called while the sandbox starts; when it returns `argv` finds a line or the end on its standard
        input. What it raises ends the run.
        Raises InfrastructureError when the sandbox itself cannot be started.
        """
        writable, scratch = dict(writable or {}), dict(scratch or {})
        shown = list(read_only.items()) if isinstance(read_only, Mapping) else list(read_only or [])
        user = self._user(shared_user=shared_user)
        apart = driver and self.separates
        owner = user + _USERS if apart else user
        if self.kind == "none" and os.geteuid() == 0:
            _require_reachable([*(host for host, _ in shown), *writable, *scratch])
        for host in (*writable, *(scratch if self.kind == "none" else ())):
            host.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == 0 and self.kind != "user":
                give(host, owner)
        drop = _drop_to(owner, _DRIVER_RIGHTS if apart else "") if os.geteuid() == 0 and self.kind != "user" else []
        limited = ["prlimit", *limits.prlimit_arguments(), "--", *drop, *argv]
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": HOME, **env}
        if apart:
            environment["SANDBOX_USER"] = str(user)
        if self.kind == "none":
            return _start(limited, environment, cwd, stdout, limits, list(writable), [], started, ready)
        mounts = Mounts(self.bwrap, {"sandbox": user, **({"driver": owner} if apart else {})})
        mounts.system(network=network)
        for host, inside in scratch.items():
            mounts.parents(inside)
            size = (sizes or {}).get(host, limits.scratch_bytes)
            mounts.add("--perms", "1777", "--size", str(size), "--tmpfs", inside)
            mounts.made(inside)
        for flag, binds in (("--ro-bind", shown), ("--bind", list(writable.items()))):
            for host, inside in binds:
                mounts.parents(inside)
                mounts.add(flag, str(host), inside)
        if self.kind == "user":
            mounts.add("--unshare-user", "--uid", str(user), "--gid", str(user))
        command = [*mounts.arguments, "--remount-ro", "/", "--chdir", cwd, "--", *limited]
        return _start(command, environment, "/", stdout, limits, list(writable), mounts.data, started, ready)

    def _user(self, *, shared_user: bool) -> int:
        if shared_user or self.kind != "root":
            return SETUP_USER
        return _FIRST_USER + (os.getpid() * 64 + next(_COUNTER)) % _USERS


def give(folder: Path, user: int) -> None:
    """Make a user the owner of a folder and everything in it; links themselves, never what they point to."""
    os.chown(folder, user, user, follow_symlinks=False)
    for _, folders, names, descriptor in os.fwalk(folder):
        for name in (*folders, *names):
            if os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_uid != user:
                os.chown(name, user, user, dir_fd=descriptor, follow_symlinks=False)


def _require_reachable(paths: Sequence[Path]) -> None:
    """Without mounts an unprivileged user must get to each path by itself; root's own folders are closed to it."""
    for path in paths:
        for folder in path.resolve().parents:
            if folder.is_dir() and not folder.stat().st_mode & 0o001:
                raise UserError(
                    f"without namespaces {folder} is closed to the unprivileged user that runs foreign code; "
                    "run as an ordinary user, or set BUTFOR_CACHE and TMPDIR to folders that everyone may enter"
                )


def _drop_to(user: int, rights: str = "") -> list[str]:
    """The command that becomes `user`; `rights` are capabilities to keep, as setpriv writes them."""
    caps = f"-all{rights}"
    flags = ["--clear-groups", "--no-new-privs", f"--bounding-set={caps}", f"--inh-caps={caps}"]
    return [
        "setpriv",
        f"--reuid={user}",
        f"--regid={user}",
        *flags,
        *([f"--ambient-caps={caps}"] if rights else []),
        "--",
    ]


def _start(
    command: list[str], env: dict[str, str], cwd: str, stdout: Path, limits: Limits, watched: list[Path],
    data: list[tuple[int, bytes]], started: Callable[[int], None] | None, ready: Callable[[], None] | None,
) -> Exit:  # fmt: skip
    for descriptor, content in data:
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        with stdout.open("ab") as log:
            process = subprocess.Popen(
                command if started is None else [*_WAITING, *command], env=env, cwd=cwd, stdout=log,
                stdin=subprocess.PIPE if started or ready else subprocess.DEVNULL, stderr=subprocess.STDOUT,
                start_new_session=True, pass_fds=[d for d, _ in data], umask=0o022,
            )  # fmt: skip
    except OSError as error:
        raise InfrastructureError(f"cannot start the sandbox: {error}") from error
    finally:
        for descriptor, _ in data:
            os.close(descriptor)
    if process.stdin is not None:
        _release(process, process.stdin, ready, started)
    return watch(process, limits, watched)


def _release(
    process: subprocess.Popen[bytes], stdin: IO[bytes], ready: Callable[[], None] | None,
    started: Callable[[int], None] | None,
) -> None:  # fmt: skip
    """Tell of the process while it waits, then let it go on; one that nobody was told of is ended."""
    try:
        if ready is not None:
            ready()
        if started is not None:
            started(process.pid)
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    finally:
        with contextlib.suppress(BrokenPipeError):
            stdin.write(b"\n")
            stdin.close()


def detect() -> Sandbox:
    """The strongest kind that works here, tried by running something in it."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return Sandbox("none", "bubblewrap is not installed")
    kinds: tuple[Kind, ...] = ("root",) if os.geteuid() == 0 else ("user",)
    for kind in kinds:
        for sandbox in (Sandbox(kind, bwrap=bwrap), Sandbox(kind, bwrap=bwrap, keeps_rights=False)):
            if _works(sandbox):
                return sandbox
    return Sandbox("none", "bubblewrap cannot make namespaces on this machine")


def _works(sandbox: Sandbox) -> bool:
    try:
        done = sandbox.run(
            ["bash", "-c", _BECOME], env={}, cwd="/", stdout=Path(os.devnull), driver=True, limits=Limits(seconds=10)
        )
    except InfrastructureError:
        return False
    return done.code == 0


__all__ = ["HOME", "SETUP_USER", "Exit", "Limits", "Sandbox", "detect"]
