"""Virtual environments for services, built in the sandbox and cached.

The key is what decides the result: setup text, interpreter, and, where the setup reads the worktree, its
dependency files; a setup that installs the worktree itself gets an environment per worktree content.
Inside the sandbox worktree and environment have constant paths, so that shebangs, `.pth` files and tracebacks
are the same at each revision.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from butfor.errors import InfrastructureError, UserError
from butfor.evidence.services import ServiceDescription
from butfor.ports.sandboxes import Exit, Limits, Sandbox
from butfor.ports.worktrees import git_folders

SETUP_LIMITS = Limits(seconds=1800, memory_bytes=8 << 30, processes=2048, file_bytes=4 << 30, output_bytes=16 << 30)
_DEPENDENCY_FILES = re.compile(
    r"^(pyproject\.toml|setup\.py|setup\.cfg|.*requirements.*\.(txt|in)|.*constraints.*\.txt|.*\.lock|Pipfile.*|"
    r"pylock.*\.toml|environment\.ya?ml|MANIFEST\.in|VERSION|version\.py|__about__\.py|package\.json|package-lock\.json)$"
)
_INSTALLS_WORKTREE = re.compile(
    r"(?:-e|--editable|install|sync)\s+['\"]?(?:\$\{?WORKTREE\}?|\.)(?:[\s\['\"/;&|]|$)"
    r"|setup\.py\s+(?:-\S+\s+)*(?:install|develop|build)",
    re.MULTILINE,
)
_READS_WORKTREE = re.compile(
    r"(?:^|\s)(?:-r|-c|-e|--requirement|--constraint|--editable)(?:\s|=)|\$\{?WORKTREE\b|"
    r"\b(?:make|poetry|pdm|pipenv|uv|tox|npm|yarn|setup\.py)\b|(?:^|\s)['\"]?\.{1,2}(?:[\s/\['\"]|$)",
    re.MULTILINE,
)
_IGNORED_FOLDERS = {".git", "node_modules", "__pycache__", ".venv", ".tox"}
_MAXIMUM_FILE = 8 << 20
_NETWORK_VARIABLES = re.compile(
    r"^(PIP_.*|UV_.*|(HTTPS?|ALL|NO|FTP)_PROXY|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE)$", re.IGNORECASE
)
_PRIVATE_VARIABLES = re.compile(r"CONFIG_FILE|CACHE_DIR|TARGET|PREFIX|_USER$|LOG$", re.IGNORECASE)


@dataclass(frozen=True)
class Environment:
    """A virtual environment on the host. `path` is None where the setup failed, and `problem` then says how.

    `built`: it was built now, not found in the cache. `seconds` is what getting it took.
    """

    path: Path | None
    built: bool
    seconds: float
    problem: str = ""


@dataclass(frozen=True)
class Interpreter:
    """A Python on this machine: the executable that makes environments, and the folders it must see."""

    executable: Path
    version: str
    prefixes: tuple[Path, ...]

    def binds(self) -> dict[Path, str]:
        """Prefixes to show inside at their own place; /usr is there already."""
        return {p: str(p) for p in self.prefixes if not p.is_relative_to("/usr")}


@lru_cache(maxsize=16)
def interpreter(python: str) -> Interpreter:
    """Ask a Python, trusted as a program of this machine, who it is; UserError if it cannot say."""
    question = (
        "import sys,json;print(json.dumps([sys.version,sys.base_prefix,sys.base_exec_prefix,sys._base_executable]))"
    )
    try:
        done = subprocess.run([python, "-I", "-c", question], capture_output=True, text=True, timeout=30, check=True)
        version, prefix, exec_prefix, executable = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise UserError(f"{python} is no usable Python: {error}; give another interpreter") from error
    real = Path(os.path.realpath(executable))
    prefixes = {Path(os.path.realpath(prefix)), Path(os.path.realpath(exec_prefix)), Path(prefix)}
    if not any(real.is_relative_to(p) for p in prefixes):
        prefixes.add(real.parent)
    if any(p == Path("/") or Path.home().is_relative_to(p) for p in prefixes):
        raise UserError(f"{python} lives directly in {prefix}, which cannot be shown to foreign code; give another one")
    return Interpreter(real, version, tuple(sorted(prefixes)))


def worktree_inside(service: str) -> str:
    """Where a service's worktree is seen inside, at every revision."""
    return f"/srv/{service}/worktree"


def environment_inside(service: str) -> str:
    """Where a service's virtual environment is seen inside."""
    return f"/srv/{service}/environment"


class Environments:
    """Gets environments from `cache`, building them in `sandbox` with `python` (an executable) where needed."""

    def __init__(self, cache: Path, sandbox: Sandbox, python: str) -> None:
        self.cache, self.sandbox, self.interpreter = cache, sandbox, interpreter(python)
        cache.mkdir(parents=True, exist_ok=True)

    def get(self, service: ServiceDescription, worktree: Path, *, log: Path) -> Environment:
        """The environment for a service at the revision that `worktree` (host path, only read) holds.

        A setup that fails gives an Environment without path and with the end of its log in `problem`.
        """
        start = time.monotonic()
        folder = self.cache / self.key(service, worktree)
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / "lock"):
            ready = folder / "environment.json"
            built = not ready.exists()
            if built:
                problem = self._build(service, worktree, folder, log)
                if problem:
                    return Environment(None, built=True, seconds=time.monotonic() - start, problem=problem)
                self._write_stamp(ready)
            os.utime(folder)
        return Environment(folder / "environment", built, time.monotonic() - start)

    def key(self, service: ServiceDescription, worktree: Path) -> str:
        """The cache key: hash of setup, interpreter, isolation, and what the setup reads of the worktree."""
        parts = [service.setup, self.interpreter.version, str(self.interpreter.executable), self.sandbox.kind]
        parts += [service.name, service.directory]
        if service.setup_each_revision or _INSTALLS_WORKTREE.search(service.setup):
            parts += _content(worktree, everything=True)
        elif _READS_WORKTREE.search(service.setup):
            parts += _content(worktree, everything=False)
        return f"{service.name}-{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:24]}"

    def _write_stamp(self, ready: Path) -> None:
        temporary = ready.with_suffix(".tmp")
        temporary.write_text(json.dumps({"prefixes": [str(p) for p in self.interpreter.prefixes]}))
        temporary.replace(ready)

    def _build(self, service: ServiceDescription, worktree: Path, folder: Path, log: Path) -> str:
        """Make the environment and run the setup inside; returns "" or what went wrong."""
        environment, scratch = folder / "environment", folder / "scratch"
        for leftover in (environment, scratch):
            shutil.rmtree(leftover, ignore_errors=True)
        mark = log.stat().st_size if log.exists() else 0
        done = self._run_setup(service, worktree, environment, scratch, log)
        shutil.rmtree(scratch, ignore_errors=True)
        if done.cut or done.code:
            shutil.rmtree(environment, ignore_errors=True)
            how = f"cut off by its {done.cut} limit" if done.cut else f"exit {done.code}"
            return f"setup of {service.name} failed ({how}): {_tail(log, mark)}"
        return ""

    def _run_setup(
        self, service: ServiceDescription, worktree: Path, environment: Path, scratch: Path, log: Path
    ) -> Exit:
        inside = self.sandbox.inside
        tree, venv = inside(scratch, f"/srv/{service.name}") + "/worktree", environment_inside(service.name)
        venv, source = inside(environment, venv), inside(worktree, f"/srv/{service.name}/source")
        pip_cache = self.cache.parent / "pip" / service.name
        folders = [(f, str(f)) for f in git_folders(worktree)]
        env = _network_environment() | {
            "PATH": f"{venv}/bin:/usr/local/bin:/usr/bin:/bin", "VIRTUAL_ENV": venv, "WORKTREE": tree,
            "PIP_CACHE_DIR": inside(pip_cache, "/srv/pip"), "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
            "GIT_OPTIONAL_LOCKS": "0", "HOME": inside(scratch / "home", "/tmp/home"),  # noqa: S108
        }  # fmt: skip
        return self.sandbox.run(
            ["bash", "-e", "-o", "pipefail", "-c", _SETUP, "setup", str(self.interpreter.executable), venv, source,
             tree, service.directory, service.setup],
            env=env, cwd="/", stdout=log, network=True, shared_user=True, limits=SETUP_LIMITS,
            read_only={worktree: source, **self.interpreter.binds(), **_named_files(env), **dict(folders)},
            writable={environment: venv, pip_cache: env["PIP_CACHE_DIR"]},
            scratch={scratch: inside(scratch, f"/srv/{service.name}")},
        )  # fmt: skip


_SETUP = """\
"$1" -m venv "$2"
cp -a --no-preserve=timestamps,ownership "$3" "$4"
cd "$4/$5"
exec bash -e -o pipefail -c "$6"
"""


def _network_environment() -> dict[str, str]:
    """The user's settings for package downloads, without those that name the user's own folders."""
    return {k: v for k, v in os.environ.items() if _NETWORK_VARIABLES.match(k) and not _PRIVATE_VARIABLES.search(k)}


def _named_files(env: dict[str, str]) -> dict[Path, str]:
    """Certificates and wheel folders that those settings name, outside the user's home, at their own place."""
    found = {}
    for key, value in env.items():
        if key.upper() in (
            "PIP_CERT",
            "SSL_CERT_FILE",
            "SSL_CERT_DIR",
            "REQUESTS_CA_BUNDLE",
            "CURL_CA_BUNDLE",
            "PIP_FIND_LINKS",
        ):
            path = Path(value)
            if path.is_absolute() and path.exists() and not path.is_relative_to(Path.home()):
                found[path] = value
    return {p: v for p, v in found.items() if not p.is_relative_to("/usr") and not p.is_relative_to("/etc/ssl")}


def _content(worktree: Path, *, everything: bool) -> Iterator[str]:
    """Path and hash of each dependency file (or of every file) of a worktree; links count by their target."""
    for parent, folders, names in os.walk(worktree):
        folders[:] = sorted(f for f in folders if f not in _IGNORED_FOLDERS)
        for name in sorted(names):
            path = Path(parent, name)
            if not everything and not _DEPENDENCY_FILES.match(name):
                continue
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                yield f"{path.relative_to(worktree)} -> {path.readlink()}"
            elif stat.S_ISREG(mode) and name != ".git":
                yield f"{path.relative_to(worktree)} {_digest(path)}"


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _tail(log: Path, mark: int, lines: int = 12) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(mark, log.stat().st_size - 16_384))
            text = file.read().decode("utf-8", "replace").strip()
    except OSError as error:
        raise InfrastructureError(f"the setup's log cannot be read: {error}") from error
    return " | ".join(line.strip() for line in text.splitlines()[-lines:])[-1500:] or "no output"


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes, so that an environment is built once."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
