"""Keeping a run's telemetry as a folder of OTLP files: a bundle without a manifest."""

from __future__ import annotations

import shutil
from pathlib import Path

from butfor.evidence.plays import Observation

LIMIT = 256 * 1024 * 1024
_KINDS = {"spans": "spans.otlp.jsonl", "logs": "logs.otlp.jsonl"}


def keep(observation: Observation, folder: Path) -> Path:
    """Write spans and logs of the spool to `folder` (made anew) and return it; at most LIMIT bytes of each."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for kind, name in _KINDS.items():
        _join(sorted(observation.spool.rglob(f"{kind}-*.jsonl")), part / name)
    shutil.rmtree(folder, ignore_errors=True)
    part.rename(folder)
    return folder


def _join(sources: list[Path], target: Path) -> None:
    """Concatenate whole lines; a last line that was cut off is left out."""
    left = LIMIT
    with target.open("wb") as out:
        for source in sources:
            if source.is_symlink() or not source.is_file():
                continue
            with source.open("rb") as file:
                content = file.read(left)
            whole = content[: content.rfind(b"\n") + 1]
            out.write(whole)
            left -= len(whole)
