"""One incident from its folder to a scored verdict, and many of them to a table.

The truth is read after the verdict is written; the load is not handed to the investigation.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from butfor.errors import ButforError
from butfor.evaluating.captures import capture_incident
from butfor.evaluating.incidents import read_incident, read_truth
from butfor.evaluating.scores import failed_row, score
from butfor.evaluating.seconds import heals_second_request
from butfor.evidence.incidents import Incident
from butfor.investigating.investigations import Question, investigate
from butfor.investigating.progress import Progress
from butfor.ports.benches import Bench
from butfor.ports.histories import obtain


@dataclass(frozen=True)
class Settings:
    """What is the same for every incident of an evaluation."""

    out: Path
    repos: Path | None = None
    without: frozenset[str] = frozenset()
    analyse_only: bool = False
    bundles: Path | None = None
    """The `out` of an earlier run, whose bundles are investigated again, or a folder of ID.tar.zst; without it each
    incident is captured."""
    recorded: bool = False
    """The bundles may be recordings."""
    budget_s: float = 1200.0
    bench: Bench = field(default_factory=Bench.of_this_machine)


def evaluate(case: Path, settings: Settings, progress: Progress) -> dict[str, Any]:
    """Capture, investigate and score one incident; an error becomes a row, never an exception."""
    try:
        if "kernel" in settings.without:
            return _evaluate(case, settings, progress)
        with settings.bench.watched() as bench:
            return _evaluate(case, replace(settings, bench=bench), progress)
    except ButforError as error:
        return failed_row(case.name, str(error))
    finally:
        progress.done()


def _evaluate(case: Path, settings: Settings, progress: Progress) -> dict[str, Any]:
    incident = read_incident(case)
    out = settings.out / incident.id
    out.mkdir(parents=True, exist_ok=True)
    histories = find_histories(incident, case, settings.repos)
    started = time.monotonic()
    progress.stage("capture")
    kept = _kept(settings.bundles, incident.id) if settings.bundles else None
    bundle = kept or captured(incident, case, histories, settings.bench, out, progress.note)
    seconds = round(time.monotonic() - started, 3)
    verdict = investigate(question(incident, case, histories, bundle, out, settings), settings.bench, progress)
    progress.stage("score")
    second = heals_second_request(incident, case, histories, verdict, settings.bench, out)
    row = score(incident, verdict, read_truth(case), second, str(out / "verdict.json"))
    row["seconds"] = {"capture": seconds, **row["seconds"]}
    return row


def _kept(folder: Path, name: str) -> Path:
    packed = folder / f"{name}.tar.zst"
    return packed if packed.is_file() else folder / name / "bundle"


def find_histories(incident: Incident, case: Path, repos: Path | None) -> dict[str, Path]:
    """The git directory of every service that has a repository."""
    return {
        service.name: obtain(service.repository, case=case, repos=repos)
        for service in incident.services
        if service.repository
    }


def captured(
    incident: Incident, case: Path, histories: dict[str, Path], bench: Bench, out: Path,
    watch: Callable[[str], None] = lambda _: None,
) -> Path:  # fmt: skip
    """A fresh bundle in `out/bundle`; an older one there is replaced once the new one is whole."""
    with tempfile.TemporaryDirectory(dir=out, prefix=".capture-") as scratch:
        fresh = capture_incident(incident, case, histories, bench, Path(scratch) / "bundle", watch)
        target = out / "bundle"
        if target.exists():
            target.rename(Path(scratch) / "replaced")
        fresh.rename(target)
    return target


def question(
    incident: Incident, case: Path, histories: dict[str, Path], bundle: Path, out: Path, settings: Settings
) -> Question:
    """What the investigation sees: bundle, service descriptions, symptom, repositories; neither load nor truth."""
    return Question(
        title=incident.title, bundle=bundle, services=incident.services, symptom=incident.symptom,
        histories=histories, case=case, out=out, without=settings.without, budget_s=settings.budget_s,
        analyse_only=settings.analyse_only, recorded=settings.recorded,
    )  # fmt: skip


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, sort_keys=False)
    Path(name).replace(path)
