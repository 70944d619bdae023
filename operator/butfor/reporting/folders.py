"""The folder that holds a verdict: every file is written whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path

from butfor.evidence.verdicts import Verdict
from butfor.reporting.jobs import ci_files, readme
from butfor.reporting.materials import Material
from butfor.reporting.pages import page
from butfor.reporting.sentences import headline
from butfor.reporting.writing import encodable, write

__all__ = ["Material", "report"]


def report(verdict: Verdict, material: Material, out: Path) -> None:
    """Write the folder `out`: verdict.json, report.html, README.txt, the patch and the jobs, where there are any.

    What an earlier verdict left there and this one does not name is removed.
    """
    verdict = encodable(verdict)
    _remove_stale(verdict, material, out)
    files = {"verdict.json": verdict.model_dump_json(indent=2) + "\n", "README.txt": readme(verdict, headline(verdict))}
    files["report.html"] = page(verdict, material)
    if _tells_code(verdict):
        files |= ci_files()
    if material.patch:
        write(out / "patch.diff", material.patch)
    for name, text in files.items():
        write(out / name, text.encode("utf-8", "backslashreplace"))


def _remove_stale(verdict: Verdict, material: Material, out: Path) -> None:
    if not material.patch:
        (out / "patch.diff").unlink(missing_ok=True)
    if not _tells_code(verdict):
        for name in ci_files():
            (out / name).unlink(missing_ok=True)
    kept = (verdict.reproduction.path, verdict.reproduction.healed_path)
    for name in ("repro", "healed"):
        if name not in kept and (out / name / "plan.json").is_file():
            shutil.rmtree(out / name)


def _tells_code(verdict: Verdict) -> bool:
    """Whether the reproduction tells revisions apart: a job that fails whatever is committed helps nobody."""
    return bool(verdict.reproduction.path) and not verdict.reproduction.healed_path
