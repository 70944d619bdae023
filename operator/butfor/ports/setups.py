"""What the result of a setup depends on: reading setup scripts, and cache keys made from that.

Reading is by pattern and errs towards depending on more: a needless build costs seconds, a wrong environment
costs a wrong verdict.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal

from butfor.evidence.services import ServiceDescription

Reads = Literal["nothing", "dependencies", "sources", "everything"]
"""What a setup may read of the worktree.

    dependencies  files that declare dependencies (-r, -c, lock files)
    sources       an editable install: all but the content of Python modules and prose, which stay in the worktree
    everything    it copies the worktree into the environment, or says so (`setup_each_revision`)
"""

_SETUP_PY = re.compile(r"setup\.py\s+(?:\S+\s+)*(?:install|build|bdist_wheel)\b")
_SETUP_PY_IN_PLACE = re.compile(r"setup\.py\s+(?:\S+\s+)*(?:develop|build_ext)\b")
_VALUE_OPTIONS = {
    "-r",
    "--requirement",
    "-c",
    "--constraint",
    "-t",
    "--target",
    "-i",
    "--index-url",
    "-f",
    "--find-links",
}
_READS = re.compile(
    r"(?:^|\s)(?:-r|-c|--requirement|--constraint)(?:\s|=|\S)|\$\{?WORKTREE\b|"
    r"\b(?:make|poetry|pdm|pipenv|uv|tox|nox|hatch|npm|yarn|pnpm|go|cargo)\b|(?:^|\s)['\"]?\.{1,2}/",
    re.MULTILINE,
)
_DEPENDENCY_FILES = re.compile(
    r"^(pyproject\.toml|setup\.(py|cfg)|.*requirements?.*\.(txt|in)|.*constraints?.*\.txt|.*\.lock|Pipfile.*|"
    r"pylock.*\.toml|environment\.ya?ml|MANIFEST\.in|VERSION|_?_?(version|about)_?_?\.py|package(-lock)?\.json|"
    r"Makefile|Cargo\.toml|go\.(mod|sum)|tox\.ini|noxfile\.py)$",
    re.IGNORECASE,
)
_REQUIREMENT_FOLDER = re.compile(r"requirement|constraint|deps", re.IGNORECASE)
_PROSE = re.compile(r"\.(py|pyi|md|rst|txt|html?|css|svg|png|jpe?g|gif|po)$", re.IGNORECASE)
_IGNORED_FOLDERS = {".git", "node_modules", "__pycache__", ".venv", ".tox"}


def reads(service: ServiceDescription) -> Reads:
    """What the setup of a service may read of the worktree."""
    setup = service.setup
    installed = set(_installed_folders(setup))
    if service.setup_each_revision or "copy" in installed or _SETUP_PY.search(setup):
        return "everything"
    if "link" in installed or _SETUP_PY_IN_PLACE.search(setup):
        return "sources"
    return "dependencies" if _READS.search(setup) else "nothing"


def _installed_folders(setup: str) -> Iterator[Literal["copy", "link"]]:
    """For each folder of the worktree that a `pip install` (or `uv pip install`, ...) names: copied or linked."""
    for line in re.split(r"[\n;&|]+", setup.replace("\\\n", " ")):
        words = _words(line)
        if "install" not in words:
            continue
        arguments = words[words.index("install") + 1 :]
        for i, word in enumerate(arguments):
            before = arguments[i - 1] if i else ""
            if before in ("-e", "--editable") or word.startswith(("--editable=", "-e.", "-e$")):
                yield "link"
            elif _is_folder_here(word) and before not in _VALUE_OPTIONS:
                yield "copy"


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line, comments=True)
    except ValueError:  # a quote that is closed on another line
        return line.split()


def _is_folder_here(word: str) -> bool:
    name = re.sub(r"\[[^\]]*\]$", "", word)  # extras
    here = name in (".", "..") or name.startswith(("./", "../", "$WORKTREE", "${WORKTREE}"))
    return here and not re.search(r"\.(whl|txt|gz|zip|toml|lock)$", name)


def is_per_content(service: ServiceDescription) -> bool:
    """Whether the setup puts the worktree itself into the environment (or a link to it)."""
    return reads(service) in ("sources", "everything")


def key(service: ServiceDescription, worktree: Path, facts: Iterable[str]) -> str:
    """The cache key of a service's environment at a worktree; `facts` are about interpreter and sandbox."""
    return _key(service, [*facts, *_content(worktree, reads(service))])


def base_key(service: ServiceDescription, facts: Iterable[str]) -> str:
    """The cache key of the environment that builds for other contents start from."""
    return _key(service, [*facts, "base"])


def _key(service: ServiceDescription, facts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for part in (service.name, service.directory, service.setup, *facts):
        digest.update(part.encode("utf-8", "surrogateescape") + b"\0")
    return f"{service.name}-{digest.hexdigest()[:24]}"


def _content(worktree: Path, what: Reads) -> Iterator[str]:
    """Path and hash of each file that matters; links count by their target and are not followed."""
    if what == "nothing":
        return
    for parent, folders, names in os.walk(worktree):
        folders[:] = sorted(f for f in folders if f not in _IGNORED_FOLDERS)
        for name in sorted(names):
            path = Path(parent, name)
            if name == ".git" or (what == "dependencies" and not _declares(path.relative_to(worktree))):
                continue
            yield _fingerprint(path, str(path.relative_to(worktree)), what)


def _declares(path: Path) -> bool:
    return bool(_DEPENDENCY_FILES.match(path.name) or _REQUIREMENT_FOLDER.search(path.parent.name))


def _fingerprint(path: Path, name: str, what: Reads) -> str:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return f"{name} -> {path.readlink()}"
    if not stat.S_ISREG(mode) or (what == "sources" and _PROSE.search(name) and not _declares(Path(name))):
        return name
    with path.open("rb") as file:
        return f"{name} {hashlib.file_digest(file, 'sha256').hexdigest()}"
