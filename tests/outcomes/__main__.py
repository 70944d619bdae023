"""Write every incident to a folder, for `butfor eval`: python -m tests.outcomes FOLDER [NAME ...]."""

import sys
from pathlib import Path

from .incidents import CASES

if __name__ == "__main__":
    if len(sys.argv) < 2 or set(sys.argv[2:]) - set(CASES):
        sys.exit(f"usage: python -m tests.outcomes FOLDER [NAME ...]; names: {', '.join(CASES)}")
    for name in sys.argv[2:] or CASES:
        print(CASES[name](Path(sys.argv[1]) / name))
