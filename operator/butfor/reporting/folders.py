"""The folder that holds a verdict: every file is written whole or not at all."""

from __future__ import annotations

from pathlib import Path

from butfor.evidence.verdicts import Verdict
from butfor.reporting.jobs import ci_files, readme
from butfor.reporting.materials import Material
from butfor.reporting.pages import page
from butfor.reporting.sentences import headline
from butfor.reporting.writing import write

__all__ = ["Material", "report"]


def report(verdict: Verdict, material: Material, out: Path) -> None:
    """Write the folder `out`: verdict.json, report.html, README.txt, the patch and the jobs, where there are any."""
    files = {"verdict.json": verdict.model_dump_json(indent=2) + "\n", "README.txt": readme(verdict, headline(verdict))}
    files["report.html"] = page(verdict, material)
    if verdict.reproduction.path:
        files |= ci_files()
    if material.patch:
        write(out / "patch.diff", material.patch)
    for name, text in files.items():
        write(out / name, text.encode())
