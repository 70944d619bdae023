"""The code to inject into services of a play, with its bytecode for their interpreter.

Plays keep bytecode caches off, so an interpreter that finds none compiles the package at each start of a service.

    <cache>/inject/<digest>/butfor_inject/    a copy of the package, with `__pycache__` of each Python that asked
    <cache>/inject/shims/<digest>/            starters for the Pythons of one environment
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import tempfile
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from butfor.ports.caches import cache_root

_NAME = "butfor_inject"
_SECONDS = 60


@lru_cache(maxsize=16)
def injection(python: Path) -> Path | None:
    """The package's folder; compiled for `python`, a program of this machine. None where it is not installed.

    Bytecode that cannot be made is no failure: the service's start then takes a little longer.
    """
    found = find_spec(_NAME)
    if found is None or found.origin is None:
        return None
    package = Path(found.origin).parent
    try:
        copy = _copied(package)
        _compile(copy, python)
    except OSError:  # no room for a cache
        return package
    return copy


def shims(programs: Path, site: str) -> Path | None:
    """A folder of starters for the Pythons of an environment, made once; `site` as the service sees it."""
    try:
        return _shims(programs, site, programs.stat().st_mtime_ns)
    except (OSError, ImportError):
        return None


@lru_cache(maxsize=64)
def _shims(programs: Path, site: str, _changed: int) -> Path:
    from butfor_inject.shims import make_shims  # noqa: PLC0415 - it need not be installed

    target = (
        cache_root() / "inject" / "shims" / hashlib.sha256(f"{programs} {site} {_changed}".encode()).hexdigest()[:24]
    )
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            made = Path(scratch) / "made"
            make_shims(made, str(programs), site=site)
            made.chmod(0o755)
            _publish(made, target)
    return target


def _copied(package: Path) -> Path:
    """A copy of the package under the digest of its sources, made once."""
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    target = cache_root() / "inject" / digest.hexdigest()[:24]
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            made = Path(scratch) / "made"
            shutil.copytree(package, made / _NAME, ignore=shutil.ignore_patterns("__pycache__"))
            for folder in (made, *(p for p in made.rglob("*") if p.is_dir())):
                folder.chmod(0o755)
            _publish(made, target)
    return target / _NAME


def _publish(made: Path, target: Path) -> None:
    try:
        made.rename(target)
    except OSError:
        if not target.exists():  # else another process made the same first
            raise


def _compile(package: Path, python: Path) -> None:
    """Sources under a digest do not change, so their bytecode is never checked against them."""
    done = package.parent / f"compiled-{hashlib.sha256(str(python).encode()).hexdigest()[:16]}"
    if done.exists():
        return
    command = [str(python), "-I", "-S", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
    try:
        subprocess.run([*command, str(package)], capture_output=True, timeout=_SECONDS, check=True, umask=0o022)
    except subprocess.SubprocessError:
        return
    done.touch()
