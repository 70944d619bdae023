"""What this process is and what it loaded: `process-*.json` and `modules-*.json`."""

from __future__ import annotations

import os
import sys
from typing import Any

from butfor_inject import boundaries
from butfor_inject.boundaries import attempt
from butfor_inject.spools import Spool

_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep


class ProcessNotes:
    """Both files; each is written anew only when its content changed."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self.hooks: list[str] = []
        self.sources: list[str] = []
        self.instrumentation = "injected"
        self._loaded = 0
        self._written: Any = None
        self._served = False

    def forked(self) -> None:
        """A child writes files of its own."""
        self._loaded, self._written, self._served = 0, None, False

    def served(self) -> None:
        """A request arrived: from now on what is loaded matters."""
        if not self._served:
            self._served = True
            self.write()
            self.modules()

    def write(self) -> None:
        """Write `process-*.json` if anything in it changed."""
        attempt("process", self._write)

    def _write(self) -> None:
        state = (len(self.hooks), len(self.sources), self.instrumentation, len(boundaries.notes))
        if state != self._written:
            self._spool.replace("process", self._content())
            self._written = state

    def _content(self) -> dict[str, Any]:
        return {
            "service": self._spool.settings.service,
            "pid": os.getpid(),
            "command": list(getattr(sys, "orig_argv", None) or [sys.executable, *getattr(sys, "argv", [])]),
            "directory": _directory(),
            "interpreter": f"{sys.implementation.name} {sys.version.split()[0]} {sys.executable}",
            "flags": _flags(),
            "distributions": distributions(sys.path),
            "path": [folder for folder in sys.path if os.path.isdir(folder)],
            "instrumentation": self.instrumentation,
            "exception_sources": self.sources,
            "hooks": self.hooks,
            "notes": [f"{count} x {text}" for text, count in boundaries.notes.items()],
        }

    def modules(self) -> None:
        """Write `modules-*.json` if modules were loaded since."""
        if len(sys.modules) != self._loaded:
            attempt("modules", self._write_modules)

    def _write_modules(self) -> None:
        loaded = len(sys.modules)
        content = {"service": self._spool.settings.service, "pid": os.getpid(), "files": loaded_files()}
        self._spool.replace("modules", content)
        self._loaded = loaded

    def saw(self, source: str) -> None:
        """An exception was seen by this source."""
        if source not in self.sources:
            self.sources.append(source)

    def leave(self) -> None:
        """The interpreter ends."""
        self._written = None
        self.write()
        self.modules()


def loaded_files() -> list[str]:
    """Absolute files of every loaded module but ours."""
    files = set()
    for module in list(sys.modules.values()):
        name = getattr(module, "__file__", None)
        if isinstance(name, str):
            name = os.path.abspath(name)
            if not name.startswith(_OWN):
                files.add(name)
    return sorted(files)


def distributions(path: list[str]) -> dict[str, str]:
    """Installed distributions by the names of their metadata folders; the first on the path wins."""
    found: dict[str, str] = {}
    for folder in path:
        try:
            names = os.listdir(folder or ".")
        except OSError:
            continue
        for name in names:
            stem, dot, ending = name.rpartition(".")
            if dot and ending in ("dist-info", "egg-info") and "-" in stem:
                title, version = stem.split("-")[:2]
                found.setdefault(title.replace("_", "-").lower(), version)
    return found


def _directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""


def _flags() -> list[str]:
    flags = [f"{name}={value}" for name, value in _flag_values() if value]
    return flags + [f"-X {key}" for key in getattr(sys, "_xoptions", {})]


def _flag_values() -> list[tuple[str, Any]]:
    return [(name, getattr(sys.flags, name)) for name in dir(sys.flags) if _is_flag(name)]


def _is_flag(name: str) -> bool:
    return not name.startswith(("_", "n_")) and name not in ("count", "index")
