"""The repository that a captured service runs from: its root, its revision, whether it was changed since."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from butfor.ports.repositories import SAFE_CONFIG, Repository

_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Checkout:
    """`revision` is HEAD's commit (empty: no repository); `changed`: tracked files differ from it."""

    root: Path
    revision: str = ""
    changed: bool = False

    @property
    def name(self) -> str:
        """The root folder's name as a service's name."""
        name = re.sub(r"[^A-Za-z0-9_.-]+", "-", self.root.name).lstrip("-._0123456789")[:63]
        return name or "service"


def checkout(folder: Path) -> Checkout:
    """The repository that holds a folder; the folder itself where there is none."""
    folder = folder.resolve()
    root = next((f for f in (folder, *folder.parents) if (f / ".git").exists()), None)
    if root is None or shutil.which("git") is None:
        return Checkout(root or folder)
    revision = _git(root, "rev-parse", "--verify", "--quiet", "HEAD")
    changed = bool(revision and _git(root, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules"))
    return Checkout(root, revision, changed)


def _git(root: Path, *arguments: str) -> str:
    """What git prints; empty where it fails. Nothing is written (no optional locks, no hooks)."""
    options = [part for setting in SAFE_CONFIG for part in ("-c", setting)]
    try:
        done = subprocess.run(
            ["git", *options, "-C", str(root), *arguments],
            env=Repository.environment(), capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
