"""Which installed distributions a captured service needs: what it loaded, what its sources import, and theirs.

Read from the metadata beside the service's own modules, by our interpreter; nothing of the service is imported.
"""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import Distribution, distributions
from pathlib import Path
from urllib.parse import unquote, urlsplit

MAX_SOURCES = 3_000
MAX_SOURCE_BYTES = 1 << 20
_SKIPPED = frozenset({".git", ".tox", ".nox", ".venv", "venv", "env", "node_modules", "site-packages", "__pycache__"})
_NAME = re.compile(r"^\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
_ALWAYS_LOADED = "_distutils_hack"
"""setuptools' start-up hook, which each interpreter that has setuptools runs; no sign that it is needed."""


def normalised(name: str) -> str:
    """A distribution's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@dataclass(frozen=True)
class Requirements:
    """What to install. `pins`: normalised name to requirement (`a==1`, `a @ git+URL@SHA`); `local`: to its folder."""

    pins: dict[str, str] = field(default_factory=dict)
    local: dict[str, Path] = field(default_factory=dict)


def required(files: Iterable[str], path: Iterable[str], root: Path) -> Requirements:
    """What a service needs that loaded `files` with `path` as sys.path; `root` is its repository.

    Imports written in the repository count too: another revision, request or test may reach them.
    """
    installed = _installed(path)
    loaded = {os.path.realpath(file) for file in files if _ALWAYS_LOADED not in file}
    wanted = {name for name, one in installed.items() if _is_loaded(one, loaded)}
    names = imported(root)
    wanted |= {name for name, one in installed.items() if names & _top_level(one)}
    wanted |= {name for name, one in installed.items() if _folder(one) == root}
    needed = [installed[name] for name in sorted(_closure(wanted, installed))]
    local = {normalised(one.name): folder for one in needed if (folder := _folder(one)) is not None}
    return Requirements({n: _pin(one) for one in needed if (n := normalised(one.name)) not in local}, local)


def _installed(path: Iterable[str]) -> dict[str, Distribution]:
    """Distributions by normalised name; the first on the path wins, as it does in an import."""
    found: dict[str, Distribution] = {}
    for one in distributions(path=list(path)):
        if one.metadata["Name"]:
            found.setdefault(normalised(one.name), one)
    return found


def _is_loaded(one: Distribution, loaded: set[str]) -> bool:
    """Whether one of its files was loaded; where it lists none, whether something under its top-level names was."""
    base = os.path.realpath(str(one.locate_file("")))
    record = one.read_text("RECORD")
    if record is not None:
        listed = (line.partition(",")[0].strip('"') for line in record.splitlines())
        return any(f"{base}/{name}" in loaded for name in listed if name.endswith((".py", ".so")))
    places = tuple(f"{base}/{name}" for name in _top_level(one))
    return any(file.startswith((f"{place}/", f"{place}.")) for place in places for file in loaded)


def _top_level(one: Distribution) -> set[str]:
    """Names that `import` knows it by."""
    listed = one.read_text("top_level.txt")
    if listed is not None:
        return {name for name in listed.split() if name != _ALWAYS_LOADED}
    record = one.read_text("RECORD") or ""
    firsts = {line.partition(",")[0].partition("/")[0] for line in record.splitlines() if ".py," in line}
    return {name.removesuffix(".py") for name in firsts if name.removesuffix(".py").isidentifier()}


def _closure(wanted: set[str], installed: dict[str, Distribution]) -> set[str]:
    """`wanted` and, as far as they are installed, what they require; extras that are used were loaded."""
    found, waiting = set(wanted), list(wanted)
    while waiting:
        for line in installed[waiting.pop()].requires or []:
            text, _, marker = line.partition(";")
            match = _NAME.match(text)
            name = normalised(match.group(1)) if match else ""
            if name in installed and name not in found and "extra" not in marker:
                found.add(name)
                waiting.append(name)
    return found


def _direct(one: Distribution) -> dict[str, object]:
    """PEP 610's record of a distribution that came from no index; {} where there is none."""
    try:
        read = json.loads(one.read_text("direct_url.json") or "{}")
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _folder(one: Distribution) -> Path | None:
    """The folder that it was installed from, or (an old `develop` install) stands in."""
    direct = _direct(one)
    if "dir_info" in direct:
        return Path(unquote(urlsplit(str(direct.get("url"))).path))
    base = Path(str(one.locate_file("")))
    return base if one.read_text("RECORD") is None and (base / "setup.py").is_file() else None


def _pin(one: Distribution) -> str:
    """The requirement that installs the same again."""
    direct = _direct(one)
    url, vcs = direct.get("url"), direct.get("vcs_info")
    if isinstance(url, str) and isinstance(vcs, dict):
        return f"{one.name} @ {vcs.get('vcs')}+{url}@{vcs.get('commit_id')}"
    if isinstance(url, str) and url.startswith("https:"):
        return f"{one.name} @ {url}"
    return f"{normalised(one.name)}=={one.version}"


def imported(root: Path) -> set[str]:
    """Top-level names of the absolute imports in a repository's Python sources, its tests included; bounded."""
    names: set[str] = set()
    for count, path in enumerate(_sources(root)):
        if count >= MAX_SOURCES:
            break
        names |= _imports(path)
    return names


def _sources(root: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in _SKIPPED and not Path(parent, f, "pyvenv.cfg").exists())
        yield from (Path(parent, name) for name in sorted(files) if name.endswith(".py"))


def _imports(path: Path) -> set[str]:
    try:
        if path.is_symlink() or path.stat().st_size > MAX_SOURCE_BYTES:
            return set()
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return set()  # a template, or another Python's syntax
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.partition(".")[0])
    return found
