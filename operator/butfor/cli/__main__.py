"""The console script, and `python -m butfor.cli`."""

from __future__ import annotations

import sys


def main() -> None:
    """Leave with the exit code of the command; Ctrl-C is one line from the first moment on."""
    try:
        from butfor.cli.apps import run

        code = run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; nothing half-written was left\n")
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
