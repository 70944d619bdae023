"""The context writer (`butfor_context`) built for an interpreter: what a service loads to publish its spans.

One build per interpreter and source, in the cache. Where it cannot be built the reason is given.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from butfor.errors import InfrastructureError
from butfor.ports.caches import cache_root

_QUESTION = """\
import json, sysconfig
print(json.dumps([sysconfig.get_paths()["include"], sysconfig.get_config_var("EXT_SUFFIX")]))
"""
_WARNINGS = ["-Wall", "-Wextra", "-Wno-unused-parameter", "-Wno-missing-field-initializers"]


def sources() -> Path | None:
    """The package's folder, with its C: installed, or in a checkout; None where there is neither."""
    here = Path(__file__)
    places = (here.parents[3] / "agent/butfor_context/butfor_context", here.parents[2] / "butfor_agent/context")
    return next((place for place in places if (place / "writer.c").is_file()), None)


@cache
def built(python: str) -> Path:
    """A folder from which this interpreter can import `butfor_context`; raises InfrastructureError with the reason."""
    source, include, suffix = _needed(python)
    digest = hashlib.sha256(f"{include} {suffix}".encode())
    for path in sorted(source.glob("*.[cp]*")):
        digest.update(path.name.encode() + path.read_bytes())
    folder = cache_root() / "context" / digest.hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "butfor_context").exists():
            build(python, folder)
    return folder


def gathered(pythons: Iterable[str], folder: Path) -> bool:
    """One folder from which each of these interpreters can import it, as far as it can be built; whether any can."""
    for python in dict.fromkeys(pythons):
        try:
            # the module's name has the interpreter's version in it, so several may lie side by side
            shutil.copytree(built(python), folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".*"))
        except (InfrastructureError, OSError):
            continue  # processes.arrow says of each process whether it publishes its spans
    return folder.exists()


def _asked(python: str) -> tuple[str, str]:
    try:
        done = subprocess.run([python, "-I", "-c", _QUESTION], capture_output=True, text=True, timeout=30, check=True)
        include, suffix = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise InfrastructureError(f"no exact span context: {python} does not say where its headers are") from error
    return str(include), str(suffix)


def _needed(python: str) -> tuple[Path, str, str]:
    """Source, folder of Python's headers, suffix of extensions."""
    source = sources()
    if source is None:
        raise InfrastructureError("the context writer's source is not installed")
    include, suffix = _asked(python)
    if shutil.which("gcc") is None or not (Path(include) / "Python.h").is_file():
        raise InfrastructureError(f"no exact span context: building it for {python} needs gcc and Python's headers")
    return source, include, suffix


def build(python: str, folder: Path, extra: Sequence[str] = ()) -> None:
    """Compile it into `folder/butfor_context`, with `extra` options of gcc; raises InfrastructureError."""
    source, include, suffix = _needed(python)
    part = folder / ".part"
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(source, part, ignore=shutil.ignore_patterns("__pycache__"))
    dialect = ["-mtls-dialect=gnu2"] if os.uname().machine == "x86_64" else []
    options = ["-O2", "-std=gnu11", "-shared", "-fPIC", *dialect, *_WARNINGS, *extra, f"-I{include}"]
    command = ["gcc", *options, str(source / "writer.c"), "-o", str(part / f"writer{suffix}")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[0]
        raise InfrastructureError(f"no exact span context: the writer does not compile: {last}")
    part.rename(folder / "butfor_context")
