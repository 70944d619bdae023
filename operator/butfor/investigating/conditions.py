"""Writing what an outcome without a commit rests on: the reproduction, and the same with the healthy value in place.

`repro/` fails at bad and at good alike; `healed/` is the same test under conditions that differ in one kind of thing
only. So whoever has the folder and the repository can run both.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from butfor.evidence.reproductions import Reproduction
from butfor.investigating.analyses import History
from butfor.patching import Intervention
from butfor.reproducing import LocalRunner, files

FAULTY, HEALED = "repro", "healed"


@dataclass(frozen=True)
class Tried:
    """An intervention that was run, and the two runners between which it tells."""

    intervention: Intervention
    faulty: LocalRunner
    healed: LocalRunner


def write_both(report: Reproduction, tried: Tried, out: Path, history: History) -> tuple[str, str]:
    """Write `repro/` and `healed/` into `out`, each whole or not at all, and return their names."""
    for name, runner in ((FAULTY, tried.faulty), (HEALED, tried.healed)):
        own = report.model_copy(update={"parts": runner.parts, "expected": list(runner.expected)})
        files.write(own, runner, out / name, good=history.good, bad=history.bad)
    return FAULTY, HEALED
