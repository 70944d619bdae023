"""`python -m bench`: measures, prints a table, writes the figures as JSON; exit code 1 where a bound is not held."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.benches import BENCHES
from bench.rows import Row

WIDTH = 150


def main() -> int:
    """Run what was asked for, one bench at a time; Ctrl-C ends with what there is so far."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=BENCHES, help="one bench; may be given again")
    parser.add_argument("--json", type=Path, default=Path("out/bench.json"), help="where the figures go")
    arguments = parser.parse_args()
    rows: list[Row] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended, as by Ctrl-C
    try:
        for name in arguments.only or BENCHES:
            sys.stderr.write(f"measuring {name}\n")
            rows += BENCHES[name]()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; nothing was written\n")
        return 130
    write(arguments.json, rows)
    show(rows)
    return 1 if any(row.held is False for row in rows) else 0


def show(rows: Sequence[Row]) -> None:
    """The figures as a table; where a bound is not held it says so in words."""
    table = Table()
    for heading in ("bench", "what", "figure", "at most", "held", "of"):
        table.add_column(heading, overflow="fold", no_wrap=heading in {"bench", "figure", "at most"})
    for row in rows:
        bound = "" if row.bound is None else f"{row.bound:g} {row.unit}"
        held = {None: "", True: "yes", False: "NO"}[row.held]
        table.add_row(row.bench, row.what, f"{row.value:.2f} {row.unit}", bound, held, row.detail)
    console = Console()
    console.width = max(console.width, WIDTH)
    console.print(table)


def write(path: Path, rows: Sequence[Row]) -> None:
    """Write whole or not at all."""
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "kernel": platform.release()}
    content = {"machine": machine, "rows": [asdict(row) | {"held": row.held} for row in rows]}
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=1)
    Path(name).replace(path)


if __name__ == "__main__":
    sys.exit(main())
