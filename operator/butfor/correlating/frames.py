"""Frames as loaded in a process into frames of the repository."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable
from functools import lru_cache

from butfor.correlating.installs import below_site_packages, installed_paths
from butfor.correlating.tracebacks import MAX_FRAMES, RawFrame
from butfor.evidence.bundles import Manifest
from butfor.evidence.predicates import Frame

_LIBRARY = re.compile(
    r"(?:^|/)(?:site-packages|dist-packages|node_modules|\.venv|venv|\.tox|\.nox|vendor/bundle|go/pkg/mod)/"
    r"|(?:^|/)lib(?:64)?/python\d(?:\.\d+)?(?:/|$)|(?:^|/)usr/(?:local/)?(?:lib|go)/"
    r"|^(?:java|javax|jdk|sun|kotlin|scala)/|^node:|^internal/|^<"
)


class Sources:
    """The folders that stand for the repository's root in the processes that were seen.

    With no known root, every file that is in no library's folder counts as the repository's, under its own name.
    `files` are the repository's: a file that was installed from one of them counts as that one.
    """

    def __init__(self, roots: Iterable[str], files: Iterable[str] = ()) -> None:
        self.installed = installed_paths(files)
        cleaned = {posixpath.normpath(root.replace("\\", "/")) for root in roots if root.strip()}
        self.roots = tuple(sorted(cleaned - {"/", "."}, key=lambda root: (-len(root), root)))
        self.frame = lru_cache(maxsize=65536)(self._frame)

    @classmethod
    def known(cls, manifest: Manifest | None, given: list[str] | None, files: Iterable[str] | None) -> Sources:
        """Roots that the caller gave and those that capture wrote down."""
        recorded = [root for service in manifest.services for root in service.source_roots] if manifest else []
        return cls([*(given or []), *recorded], files or ())

    def _frame(self, raw: RawFrame) -> Frame:
        file, line, function = raw
        plain = posixpath.normpath(file.replace("\\", "/")) if file else "?"
        if self.installed and (installed := self.installed.get(below_site_packages(plain) or "")):
            return Frame(file=installed, line=line, function=function)
        for root in self.roots:
            if plain.startswith(f"{root}/"):
                inner = plain[len(root) + 1 :]
                return Frame(file=inner, line=line, function=function, in_repository=not _LIBRARY.search(inner))
        outside = bool(_LIBRARY.search(plain)) or (bool(self.roots) and plain.startswith("/"))
        return Frame(file=plain, line=line, function=function, in_repository=not outside)

    def frames(self, raw: Iterable[RawFrame]) -> list[Frame]:
        """Frames in the given order."""
        return [self.frame(frame) for frame in raw]


def of_library(frame: Frame) -> bool:
    """Tell whether a file outside the repository was installed, and is not of the application on it."""
    return not frame.in_repository and _LIBRARY.search(frame.file) is not None


def decoded(text: str | None) -> list[RawFrame]:
    """Frames from their JSON form `[[file, line, function], ...]`; what is malformed is left out."""
    try:
        found = json.loads(text) if text else []
    except (ValueError, RecursionError):
        return []
    if not isinstance(found, list):
        return []
    frames = [frame for item in found if (frame := _raw(item))]
    return frames if len(frames) <= MAX_FRAMES else frames[: MAX_FRAMES // 2] + frames[-MAX_FRAMES // 2 :]


def _raw(item: object) -> RawFrame | None:
    match item:
        case [str() as file, int() as line, *rest] if file:
            function = rest[0] if rest and isinstance(rest[0], str) else "?"
            return file[:4096], line, function[:300]
    return None


def innermost(frames: list[Frame]) -> Frame | None:
    """The innermost frame in the repository."""
    return next((frame for frame in reversed(frames) if frame.in_repository), None)
