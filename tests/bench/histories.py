"""Small git histories to measure on, written in one pass: fixed names and dates, so the same commits each time."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FIRST_DATE = 1_700_000_000


@dataclass(frozen=True)
class Step:
    """One commit: its parents as indexes of earlier steps, and the files that it writes."""

    parents: tuple[int, ...]
    files: Mapping[str, str]
    subject: str = "change"


def write(folder: Path, steps: Sequence[Step]) -> list[str]:
    """Write a bare repository and return the commits' ids in the order of `steps`."""
    folder.mkdir(parents=True)
    _git(folder, "init", "--quiet", "--bare", "--initial-branch=main")
    _git(folder, "fast-import", "--quiet", "--export-marks=marks", given=_stream(steps))
    marks = dict(line.split() for line in (folder / "marks").read_text().splitlines())
    return [marks[f":{number}"] for number in range(1, len(steps) + 1)]


def _stream(steps: Sequence[Step]) -> bytes:
    parts: list[bytes] = []
    for number, step in enumerate(steps):
        who = f"A <a@example.org> {FIRST_DATE + 60 * number} +0000"
        lines = [f"commit refs/heads/main\nmark :{number + 1}\nauthor {who}\ncommitter {who}\n"]
        lines.append(f"data {len(step.subject.encode())}\n{step.subject}\n")
        words = ["from", *["merge"] * len(step.parents)]
        lines += [f"{word} :{parent + 1}\n" for word, parent in zip(words, step.parents, strict=False)]
        for name, text in step.files.items():
            lines.append(f"M 100644 inline {name}\ndata {len(text.encode())}\n{text}\n")
        parts.append("".join(lines).encode() + b"\n")
    return b"".join(parts)


def _git(folder: Path, *arguments: str, given: bytes = b"") -> None:
    variables = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", *arguments], cwd=folder, env=variables, input=given, check=True, capture_output=True)
