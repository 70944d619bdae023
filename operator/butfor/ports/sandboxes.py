"""Where foreign code runs: an unprivileged user in namespaces of its own, with limits and a deadline.

`detect()` finds the strongest kind that this machine allows:

    root   bubblewrap started by root, then setpriv to an unused user id without any capability
    user   bubblewrap in a user namespace
    none   no namespaces: limits and deadline only; `describe()` says that it was NOT isolated

Inside: /usr and what is listed, read-only; loopback only unless `network`; /tmp and HOME in memory.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from butfor.errors import InfrastructureError, UserError
from butfor.ports.watches import Exit, Limits, watch

Kind = Literal["root", "user", "none"]
SETUP_USER = 64617
"""The user id of runs that share a cache between them (`shared_user`)."""
_FIRST_USER, _USERS = 300_000, 200_000
"""Ids that no distribution hands out; one per run, because RLIMIT_NPROC counts per user, not per run."""
HOME = "/tmp/home"  # noqa: S108 - inside the sandbox, a tmpfs of its own
_COUNTER = itertools.count()
_ETC = (
    "alternatives", "ca-certificates", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "mime.types",
    "pki", "protocols", "services", "ssl",
)  # fmt: skip
_ETC_NETWORK = ("resolv.conf", "pip.conf")
_NSSWITCH = "passwd: files\ngroup: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n"
_HOSTS = "127.0.0.1 localhost sandbox\n::1 localhost ip6-localhost\n"


@dataclass(frozen=True)
class Sandbox:
    """One way to run foreign code. `inside` says where a host path is seen by what runs."""

    kind: Kind
    why: str = ""
    bwrap: str = "bwrap"

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
        read_only: Mapping[Path, str] | None = None,
        writable: Mapping[Path, str] | None = None,
        scratch: Mapping[Path, str] | None = None,
        network: bool = False,
        shared_user: bool = False,
        limits: Limits = Limits(),  # noqa: B008 - frozen
    ) -> Exit:
        """Run `argv` to its end, its output in `stdout` (host path); everything it started is gone afterwards.

        `read_only` and `writable` map host paths to paths inside; `scratch` paths are folders in memory
        (a host folder where nothing is isolated). `cwd` is an inside path. Writable host folders must be
        private to the caller: all in them is given to the run's user. Raises InfrastructureError when the sandbox
        itself cannot be started.
        """
        writable, scratch = dict(writable or {}), dict(scratch or {})
        user = self._user(shared_user=shared_user)
        if self.kind == "none" and os.geteuid() == 0:
            _require_reachable([*(read_only or {}), *writable, *scratch])
        for host in (*writable, *(scratch if self.kind == "none" else ())):
            host.mkdir(parents=True, exist_ok=True)
            if os.geteuid() == 0 and self.kind != "user":
                give(host, user)
        drop = _drop_to(user) if os.geteuid() == 0 and self.kind != "user" else []
        limited = ["prlimit", *limits.prlimit_arguments(), "--", *drop, *argv]
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": HOME, **env}
        if self.kind == "none":
            return _start(limited, environment, cwd, stdout, limits, watched=list(writable), data=[])
        mounts = _Mounts(self.bwrap, user)
        mounts.system(network=network)
        for inside in scratch.values():
            mounts.parents(inside)
            mounts.add("--perms", "1777", "--size", str(limits.scratch_bytes), "--tmpfs", inside)
            mounts.made(inside)
        for flag, binds in (("--ro-bind", read_only or {}), ("--bind", writable)):
            for host, inside in binds.items():
                mounts.parents(inside)
                mounts.add(flag, str(host), inside)
        if self.kind == "user":
            mounts.add("--unshare-user", "--uid", str(user), "--gid", str(user))
        command = [*mounts.arguments, "--remount-ro", "/", "--chdir", cwd, "--", *limited]
        return _start(command, environment, "/", stdout, limits, watched=list(writable), data=mounts.data)

    def _user(self, *, shared_user: bool) -> int:
        if shared_user or self.kind != "root":
            return SETUP_USER
        return _FIRST_USER + (os.getpid() * 64 + next(_COUNTER)) % _USERS


@dataclass
class _Mounts:
    """The argument list of bubblewrap as it grows; `data` are (descriptor placeholders) file contents."""

    bwrap: str
    user: int
    arguments: list[str] = field(default_factory=list)
    data: list[tuple[int, bytes]] = field(default_factory=list)
    _made: set[str] = field(default_factory=lambda: {"/", "/tmp", HOME})  # noqa: S108 - made by `system`

    def add(self, *arguments: str) -> None:
        self.arguments += arguments

    def made(self, inside: str) -> None:
        """Note a folder that a mount has made, so that `parents` leaves its mode alone."""
        self._made.add(inside)

    def parents(self, inside: str) -> None:
        """Make the folders above a mount point enterable; bubblewrap by itself makes them 0700."""
        for folder in reversed(Path(inside).parents):
            if str(folder) not in self._made and not folder.is_relative_to("/usr"):
                self._made.add(str(folder))
                self.add("--perms", "0755", "--dir", str(folder))

    def system(self, *, network: bool) -> None:
        """/usr, a minimal /etc, /proc, /dev, memory file systems; namespaces of its own."""
        self.add(self.bwrap, "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
        self.add("--hostname", "sandbox", "--die-with-parent", "--ro-bind", "/usr", "/usr")
        if not network:
            self.add("--unshare-net")
        for name in ("bin", "sbin", "lib", "lib32", "lib64"):
            folder = Path("/", name)
            if folder.is_symlink():
                self.add("--symlink", str(folder.readlink()), str(folder))
            elif folder.is_dir():
                self.add("--ro-bind", str(folder), str(folder))
        self.add("--perms", "0755", "--dir", "/etc")
        for name in (*_ETC, *(_ETC_NETWORK if network else ())):
            self.add("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")
        self._files()
        self.add("--proc", "/proc", "--dev", "/dev")
        for memory in ("/dev/shm", "/tmp", HOME):  # noqa: S108 - inside, tmpfs of its own
            self.add("--perms", "1777", "--tmpfs", memory)

    def _files(self) -> None:
        user = self.user
        self.file("/etc/passwd", f"root:x:0:0::/:/usr/sbin/nologin\nsandbox:x:{user}:{user}::{HOME}:/bin/bash\n")
        self.file("/etc/group", f"root:x:0:\nsandbox:x:{user}:\n")
        self.file("/etc/nsswitch.conf", _NSSWITCH)
        self.file("/etc/hosts", _HOSTS)

    def file(self, inside: str, text: str) -> None:
        """A small file that everyone inside may read, handed over through a descriptor."""
        descriptor = os.memfd_create("sandbox-file", os.MFD_CLOEXEC)
        self.data.append((descriptor, text.encode()))
        self.add("--perms", "0644", "--ro-bind-data", str(descriptor), inside)


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


def _drop_to(user: int) -> list[str]:
    flags = ["--clear-groups", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", "--"]
    return ["setpriv", f"--reuid={user}", f"--regid={user}", *flags]


def _start(
    command: list[str], env: dict[str, str], cwd: str, stdout: Path, limits: Limits, *, watched: list[Path],
    data: list[tuple[int, bytes]],
) -> Exit:  # fmt: skip
    for descriptor, content in data:
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        with stdout.open("ab") as log:
            process = subprocess.Popen(
                command, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                start_new_session=True, pass_fds=[d for d, _ in data], umask=0o022,
            )  # fmt: skip
    except OSError as error:
        raise InfrastructureError(f"cannot start the sandbox: {error}") from error
    finally:
        for descriptor, _ in data:
            os.close(descriptor)
    return watch(process, limits, watched)


def detect() -> Sandbox:
    """The strongest kind that works here, tried by running `true` in it."""
    bwrap = shutil.which("bwrap")
    if bwrap is None:
        return Sandbox("none", "bubblewrap is not installed")
    kinds: tuple[Kind, ...] = ("root",) if os.geteuid() == 0 else ("user",)
    for kind in kinds:
        sandbox = Sandbox(kind, bwrap=bwrap)
        if _works(sandbox):
            return sandbox
    return Sandbox("none", "bubblewrap cannot make namespaces on this machine")


def _works(sandbox: Sandbox) -> bool:
    try:
        done = sandbox.run(["true"], env={}, cwd="/", stdout=Path(os.devnull), limits=Limits(seconds=10))
    except InfrastructureError:
        return False
    return done.code == 0


__all__ = ["HOME", "SETUP_USER", "Exit", "Limits", "Sandbox", "detect"]
