"""Progress for a person: one line per stage with the time it took, notes below it; plain where there is no terminal."""

from __future__ import annotations

import sys
import time

from rich.console import Console


class Terminal:
    """Writes stages and notes to standard error, so that standard output stays for results."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.console = Console(stderr=True, highlight=False, soft_wrap=True)
        self.started = time.monotonic()
        self.console.print(title, style="bold")

    def stage(self, name: str) -> None:
        """A stage begins."""
        self.console.print(f"{self._elapsed()} {name}", style="cyan")
        sys.stderr.flush()

    def note(self, text: str) -> None:
        """Something worth knowing happened in the stage."""
        self.console.print(f"{'':8} {text}", markup=False)

    def _elapsed(self) -> str:
        return f"{time.monotonic() - self.started:7.1f}s"
