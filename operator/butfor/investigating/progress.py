"""Telling a person what is going on, and measuring how long each stage took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol


class Progress(Protocol):
    """Who is told; the terminal implements it."""

    def stage(self, name: str) -> None:
        """A stage begins."""

    def note(self, text: str) -> None:
        """Something worth knowing happened in the stage."""

    def ran(self) -> None:
        """A tree was executed once more."""

    def done(self) -> None:
        """The last stage ended, well or not."""


class Silent:
    """Nobody is told."""

    def stage(self, name: str) -> None:
        """Ignore."""

    def note(self, text: str) -> None:
        """Ignore."""

    def ran(self) -> None:
        """Ignore."""

    def done(self) -> None:
        """Ignore."""


@dataclass
class Clock:
    """Wall seconds per stage, in stage order; a stage that runs twice adds up."""

    progress: Progress
    timings: dict[str, float] = field(default_factory=dict)
    started: float = field(default_factory=time.monotonic)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Announce and time a stage."""
        self.progress.stage(name)
        before = time.monotonic()
        try:
            yield
        finally:
            self.timings[name] = round(self.timings.get(name, 0.0) + time.monotonic() - before, 3)

    @property
    def elapsed(self) -> float:
        """Seconds since the investigation began."""
        return time.monotonic() - self.started
