"""The console script, and `python -m butfor.cli`."""

from __future__ import annotations

import sys

from butfor.cli.apps import run


def main() -> None:
    """Leave with the exit code of the command."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
