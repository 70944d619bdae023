"""How long an investigation takes without the runs of its reproduction: bundle, history and report alone."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from butfor.demo.incidents import DEFAULT, materialize
from butfor.evaluating.evaluations import Settings, captured, find_histories, question
from butfor.evaluating.incidents import read_incident
from butfor.investigating.investigations import investigate
from butfor.investigating.progress import Silent


def measure(case: Path | None = None, repos: Path | None = None) -> dict[str, float]:
    """Seconds per stage for an incident that is captured first (the demo's default one), nothing executed after."""
    with tempfile.TemporaryDirectory(prefix="butfor-bench-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o711)
        case = case or materialize(folder / "incidents", [DEFAULT])[0]
        incident, settings = read_incident(case), Settings(out=folder / "out", analyse_only=True)
        histories = find_histories(incident, case, repos)
        out = folder / "out" / incident.id
        out.mkdir(parents=True)
        bundle = captured(incident, case, histories, settings.bench, out)
        asked = question(incident, case, histories, bundle, out, settings)
        begin = time.perf_counter()
        verdict = investigate(asked, settings.bench, Silent())
        seconds = dict(verdict.timings)
        if verdict.predicate is None:
            raise RuntimeError(f"{incident.id}: no failure was found, so this is no whole analysis: {verdict.reason}")
        # what a verdict cannot hold: writing itself and its report
        return seconds | {"report": seconds.get("report", 0.0) + time.perf_counter() - begin - sum(seconds.values())}
