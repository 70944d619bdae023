"""Virtual environments for services, built in the sandbox and cached.

The key is what decides the result: setup text, interpreter, and, where the setup reads the worktree, what it may
read of it. A setup that installs the worktree itself gets an environment per content; it starts from a copy of
the first one with the same setup text, as a person who updates a checkout does.
Inside the sandbox worktree and environment have constant paths, so that shebangs, `.pth` files and tracebacks
are the same at each revision.

    <cache>/environments/<key>/environment/       the virtual environment; written inside, read-only in runs
    <cache>/environments/<key>/artifacts/         files that the setup made in the worktree (built extensions, ...)
    <cache>/environments/<key>/environment.json   written last, outside: it is complete
    <cache>/pip/<service>/                        downloads
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from butfor.errors import InfrastructureError, UserError
from butfor.evidence.services import ServiceDescription
from butfor.ports.interpreters import Interpreter, interpreter
from butfor.ports.sandboxes import HOME, Exit, Limits, Sandbox
from butfor.ports.setups import base_key, is_per_content, key, reads
from butfor.ports.worktrees import git_folders

SETUP_LIMITS = Limits(seconds=1800, memory_bytes=8 << 30, processes=2048, file_bytes=4 << 30, output_bytes=16 << 30)
_NETWORK_VARIABLES = re.compile(
    r"^(PIP_.*|UV_.*|(HTTPS?|ALL|NO|FTP)_PROXY|SSL_CERT_(FILE|DIR)|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE)$", re.IGNORECASE
)
_PRIVATE_VARIABLES = re.compile(r"CONFIG_FILE|CACHE_DIR|TARGET|PREFIX|PYTHON|_USER$|LOG$", re.IGNORECASE)
_FILE_VARIABLES = (
    "PIP_CERT",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "PIP_FIND_LINKS",
)
_SETUP = """\
python=$1 venv=$2 source=$3 tree=$4 directory=$5 setup=$6 artifacts=$7
[ -e "$venv/bin/python" ] || "$python" -m venv "$venv"
cp -a --no-preserve=timestamps,ownership "$source" "$tree"
touch -d '1 second ago' "$tree/../start" && find "$tree" -print0 | sort -z > "$tree/../before"
cd "$tree/$directory"
bash -e -o pipefail -c "$setup"
[ -n "$artifacts" ] || exit 0
cd "$tree"
find "$tree" -print0 | sort -z | comm -z -13 "$tree/../before" - > "$tree/../new"
while IFS= read -r -d '' path; do
  case "$path" in */__pycache__|*/__pycache__/*|*/build/temp.*) continue ;; esac
  [ -d "$path" ] && [ ! -L "$path" ] || cp -a --parents "${path#"$tree"/}" "$artifacts/"
done < "$tree/../new"
"""
"""Makes the environment, copies the tree to its place, runs the setup, keeps the files that it added to the tree."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment on the host. `path` is None where the setup failed, and `problem` then says how.

    `built`: it was built now, not found in the cache. `seconds` is what getting it took.
    """

    path: Path | None
    built: bool
    seconds: float
    problem: str = ""


def worktree_inside(service: str) -> str:
    """Where a service's worktree is seen inside, at every revision."""
    return f"/srv/{service}/worktree"


def environment_inside(service: str) -> str:
    """Where a service's virtual environment is seen inside."""
    return f"/srv/{service}/environment"


class Environments:
    """Gets environments from `cache`, building them in `sandbox` with `python` (an executable) where needed.

    Raises UserError for a Python that cannot make environments.
    """

    def __init__(self, cache: Path, sandbox: Sandbox, python: str) -> None:
        self.cache, self.sandbox = cache, sandbox
        self.interpreter: Interpreter = interpreter(python)
        if not self.interpreter.makes_environments:
            raise UserError(f"{python} has no venv or ensurepip; install the package python3-venv")

    def get(
        self, service: ServiceDescription, worktree: Path, *, log: Path, ready: Callable[[], object] = lambda: None
    ) -> Environment:
        """The environment for a service at the revision that `worktree` (host path, only read) holds.

        `ready` is called before anything in the worktree is looked at, if it has to be.
        A setup that fails gives an Environment without path and with the end of its log in `problem`.
        """
        start = time.monotonic()
        if reads(service) != "nothing":
            ready()
        facts = (self.interpreter.version, str(self.interpreter.executable), self.sandbox.kind)
        folder = self._folder(key(service, worktree, facts))
        with _locked(folder):
            built = not (folder / "environment.json").exists()
            if built:
                ready()
            if built and (problem := self._build(service, worktree, folder, log, facts)):
                return Environment(None, built=True, seconds=time.monotonic() - start, problem=problem)
        return Environment(folder / "environment", built, time.monotonic() - start)

    def _folder(self, name: str) -> Path:
        folder = self.cache / "environments" / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _build(
        self, service: ServiceDescription, worktree: Path, folder: Path, log: Path, facts: tuple[str, ...]
    ) -> str:
        """Make the environment and run the setup inside; returns "" or what went wrong."""
        for leftover in ("environment", "artifacts", "scratch"):
            shutil.rmtree(folder / leftover, ignore_errors=True)
        per_content = is_per_content(service)
        base = self.cache / "environments" / base_key(service, facts)
        if per_content and (base / "environment.json").exists():
            _copy_environment(base / "environment", folder / "environment")
        mark = log.stat().st_size if log.exists() else 0
        done = self._run_setup(service, worktree, folder, log, per_content=per_content)
        shutil.rmtree(folder / "scratch", ignore_errors=True)
        if done.cut or done.code:
            shutil.rmtree(folder / "environment", ignore_errors=True)
            how = f"cut off by its {done.cut} limit" if done.cut else f"exit {done.code}"
            return f"setup of {service.name} failed ({how}): {_tail(log, mark)}"
        self._stamp(folder)
        if per_content:
            self._keep_base(folder, base)
        return ""

    def _stamp(self, folder: Path) -> None:
        temporary = folder / "environment.json.tmp"
        made = {
            "prefixes": [str(p) for p in self.interpreter.prefixes], "executable": str(self.interpreter.executable)
        }  # fmt: skip
        temporary.write_text(json.dumps(made))
        temporary.replace(folder / "environment.json")

    def _keep_base(self, folder: Path, base: Path) -> None:
        base.mkdir(parents=True, exist_ok=True)
        with _locked(base):
            if not (base / "environment.json").exists():
                shutil.rmtree(base / "environment", ignore_errors=True)
                _copy_environment(folder / "environment", base / "environment")
                self._stamp(base)

    def _run_setup(
        self, service: ServiceDescription, worktree: Path, folder: Path, log: Path, *, per_content: bool
    ) -> Exit:
        inside, top = self.sandbox.inside, f"/srv/{service.name}"
        venv = inside(folder / "environment", environment_inside(service.name))
        tree = inside(folder / "scratch", top) + "/worktree"
        source, artifacts = inside(worktree, "/srv/.play/source"), inside(folder / "artifacts", "/srv/.play/artifacts")
        downloads = self.cache / "pip" / service.name
        env = self._variables(venv, tree, inside(downloads, "/srv/.play/pip"))
        git = {path: str(path) for path in git_folders(worktree)}
        return self.sandbox.run(
            ["bash", "-e", "-o", "pipefail", "-c", _SETUP, "setup", str(self.interpreter.executable), venv, source,
             tree, service.directory, service.setup or "true", artifacts if per_content else ""],
            env=env | {"HOME": inside(folder / "scratch" / "home", HOME)}, cwd="/", stdout=log, network=True,
            shared_user=True, limits=SETUP_LIMITS,
            read_only={worktree: source, **self.interpreter.binds(), **_named_files(env), **git},
            writable={folder / "environment": venv, folder / "artifacts": artifacts, downloads: env["PIP_CACHE_DIR"]},
            scratch={folder / "scratch": inside(folder / "scratch", top)},
        )  # fmt: skip

    @staticmethod
    def _variables(venv: str, tree: str, downloads: str) -> dict[str, str]:
        """Variables of a setup: the environment first on PATH, the user's settings for package downloads."""
        chosen = {k: v for k, v in os.environ.items() if _NETWORK_VARIABLES.match(k)}
        return {k: v for k, v in chosen.items() if not _PRIVATE_VARIABLES.search(k)} | {
            "PATH": f"{venv}/bin:/usr/local/bin:/usr/bin:/bin", "VIRTUAL_ENV": venv, "WORKTREE": tree,
            "PIP_CACHE_DIR": downloads, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1",
            "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
            "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0",
        }  # fmt: skip


def artifacts_of(environment: Path) -> Path | None:
    """Files that an environment's setup made in the worktree; None where there are none."""
    folder = environment.parent / "artifacts"
    return folder if folder.is_dir() and any(folder.iterdir()) else None


def prefixes_of(environment: Path) -> list[Path]:
    """Folders of the interpreter that made an environment."""
    return [path for p in _stamp_of(environment).get("prefixes", []) if not (path := Path(p)).is_relative_to("/usr")]


def executable_of(environment: Path) -> Path | None:
    """The interpreter that made an environment, where that was noted."""
    executable = _stamp_of(environment).get("executable")
    return Path(executable) if executable else None


def _stamp_of(environment: Path) -> dict[str, Any]:
    """The stamp beside an environment, which runs cannot write."""
    try:
        return dict(json.loads((environment.parent / "environment.json").read_text()))
    except (OSError, ValueError):
        return {}


def _named_files(env: dict[str, str]) -> dict[Path, str]:
    """Certificates and wheel folders that the settings name, outside the user's home, at their own place."""
    named = [Path(env[name]) for name in _FILE_VARIABLES if env.get(name, "").startswith("/")]
    there = [p for p in named if p.exists() and not p.is_relative_to(Path.home())]
    return {p: str(p) for p in there if not p.is_relative_to("/usr") and not p.is_relative_to("/etc/ssl")}


def _copy_environment(source: Path, target: Path) -> None:
    """Copy an environment as it is; it was written by foreign code, so links stay links."""
    done = subprocess.run(["cp", "-a", "--", str(source), str(target)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise InfrastructureError(f"an environment cannot be copied: {done.stderr.strip()[:300]}")


def _tail(log: Path, mark: int, lines: int = 12) -> str:
    try:
        with log.open("rb") as file:
            file.seek(max(mark, log.stat().st_size - 16_384))
            text = file.read().decode("utf-8", "replace").strip()
    except OSError as error:
        raise InfrastructureError(f"the setup's log cannot be read: {error}") from error
    return " | ".join(line.strip() for line in text.splitlines()[-lines:])[-1500:] or "no output"


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock between processes, so that an environment is built once."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
