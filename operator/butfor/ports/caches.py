"""Where things that are slow to build are kept, outside any repository."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """`BUTFOR_CACHE`, else the user's cache folder; created with mode 0755 so that a sandbox user can read."""
    chosen = os.environ.get("BUTFOR_CACHE")
    base = Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "butfor"
    base.mkdir(parents=True, exist_ok=True)
    return base.resolve()
