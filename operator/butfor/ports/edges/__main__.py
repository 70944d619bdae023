"""Runs the edge, as a folder (`python FOLDER`) or as a module (`python -m butfor.ports.edges`)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__:
    from .serving import main
else:
    # the folder itself must not be on the path: its modules have names that others may use too
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from edges.serving import main

if __name__ == "__main__":
    sys.exit(main())
