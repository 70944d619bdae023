"""Pythons of this machine: which one makes environments, and which folders must be seen inside a sandbox."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from butfor.errors import UserError

_QUESTION = """\
import importlib.util, json, sys
has = importlib.util.find_spec("ensurepip") is not None and importlib.util.find_spec("venv") is not None
print(json.dumps([sys.version, sys.base_prefix, sys.base_exec_prefix, sys._base_executable, has]))
"""


@dataclass(frozen=True)
class Interpreter:
    """A Python on this machine: its real executable, `sys.version`, and the folders that it needs to see.

    `makes_environments`: it has `venv` and `ensurepip`, which some distributions package by themselves.
    """

    executable: Path
    version: str
    prefixes: tuple[Path, ...]
    makes_environments: bool

    def binds(self) -> dict[Path, str]:
        """Prefixes to show inside at their own place; /usr is there already."""
        return {p: str(p) for p in self.prefixes if not p.is_relative_to("/usr")}


@lru_cache(maxsize=16)
def interpreter(python: str) -> Interpreter:
    """Ask a Python, trusted as a program of this machine, who it is; UserError if it cannot say."""
    try:
        done = subprocess.run([python, "-I", "-c", _QUESTION], capture_output=True, text=True, timeout=30, check=True)
        version, prefix, exec_prefix, executable, makes = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise UserError(f"{python} is no usable Python ({error}); give another interpreter") from error
    real = Path(os.path.realpath(executable))
    prefixes = {Path(prefix), Path(os.path.realpath(prefix)), Path(os.path.realpath(exec_prefix))}
    if not any(real.is_relative_to(p) for p in prefixes):
        prefixes.add(real.parent)
    if any(p == Path("/") or Path.home().is_relative_to(p) for p in prefixes):
        raise UserError(f"{python} lives directly in {prefix}, which foreign code must not see; give another one")
    return Interpreter(real, version, tuple(sorted(prefixes)), bool(makes))


def minor(said: str | None) -> str:
    """`3.12` of `cpython 3.12.1 ...` (as captures name an interpreter) or `3.12.1 (main, ...)`; "" of anything else."""
    found = re.match(r"(?:cpython )?(3\.\d{1,2})\.", said or "")
    return found.group(1) if found else ""


def of_version(wanted: str) -> str | None:
    """A Python `3.N` on PATH that makes environments; None where there is none.

    The path in a bundle is never run: a bundle is foreign.
    """
    program = shutil.which(f"python{wanted}")
    try:
        found = interpreter(program) if program else None
    except UserError:
        return None
    fits = found is not None and found.makes_environments and minor(found.version) == wanted
    return program if fits else None
