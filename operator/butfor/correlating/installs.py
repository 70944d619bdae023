"""Files that a repository installs: from a path below site-packages back to the path in the repository."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable

_BELOW = re.compile(r"(?:^|/)(?:site|dist)-packages/(.+)$")
_NEVER_INSTALLED = frozenset(
    {"tests", "test", "testing", "docs", "doc", "examples", "example", "benchmarks", "scripts"}
)
_TOP = frozenset({"", "src", "lib", "python"})
"""Folders whose single modules are installed as they are; elsewhere only packages are."""


def installed_paths(files: Iterable[str]) -> dict[str, str]:
    """`package/module.py` as installed -> `src/package/module.py` in the repository.

    A top-level package is a folder with `__init__.py` below a folder without one; the shallowest of one name counts.
    """
    python = sorted((file for file in files if file.endswith(".py")), key=lambda file: (file.count("/"), file))
    packages = {posixpath.dirname(file) for file in python if posixpath.basename(file) == "__init__.py"}
    tops: dict[str, str] = {}
    for package in sorted(packages, key=lambda one: (one.count("/"), one)):
        parent, name = posixpath.split(package)
        if package and parent not in packages and not _NEVER_INSTALLED & set(package.split("/")):
            tops.setdefault(name, parent)
    found: dict[str, str] = {}
    for file in python:
        if (inner := _below_top(file, tops)) is not None:
            found.setdefault(inner, file)
    return found


def _below_top(file: str, tops: dict[str, str]) -> str | None:
    for name, parent in tops.items():
        start = f"{parent}/{name}/" if parent else f"{name}/"
        if file.startswith(start):
            return f"{name}/{file[len(start) :]}"
    parent, module = posixpath.split(file)
    single = parent in _TOP and module not in ("setup.py", "conftest.py", "noxfile.py", "__init__.py")
    return module if single else None


def below_site_packages(file: str) -> str | None:
    """The path of an installed file below its site-packages."""
    found = _BELOW.search(file)
    return found[1] if found else None
