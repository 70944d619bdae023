"""The rows of the bench: what is measured, the figure, its bound, and the parts that it was made of."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import Any

from bench import analyses, bisections, captures, harnesses

ANALYSIS_S, RUNS, HARNESS = 10.0, 0.7, 1.5


@dataclass(frozen=True)
class Row:
    """One figure. `bound` is the most that it may be; None: it is shown, and nothing is promised."""

    bench: str
    what: str
    value: float
    unit: str = "x"
    bound: float | None = None
    detail: str = ""
    parts: dict[str, Any] = field(default_factory=dict)

    @property
    def held(self) -> bool | None:
        """Whether the figure is within its bound."""
        return None if self.bound is None else self.value <= self.bound


def bisection_rows() -> Iterator[Row]:
    """Runs against `git bisect run`; the row with a ranking as useful as `eval` measured has the bound."""
    found = bisections.measure()
    for name, runs in found.ours.items():
        bound = RUNS if name == bisections.USEFUL else None
        detail = f"{mean(runs):.1f} runs, git bisect run {mean(found.git):.1f}; {len(runs)} histories"
        yield Row(
            "bisection", name, found.ratio(name), bound=bound, detail=detail, parts={"ours": runs, "git": found.git}
        )
    yield from _evaluated(Path(os.environ.get("BENCH_EVAL", "out/eval.json")))


def _evaluated(path: Path) -> Iterator[Row]:
    """The same from what `butfor eval --json` wrote, where it is there."""
    if not path.is_file():
        return
    rows = [row for row in json.loads(path.read_text("utf-8"))["incidents"] if row["git_bisect_runs"]]
    if not rows:
        return
    value = mean(row["runs"] / row["git_bisect_runs"] for row in rows)
    counts = {row["id"]: [row["runs"], row["git_bisect_runs"]] for row in rows}
    yield Row("bisection", f"incidents of {path}", value, bound=RUNS, detail=f"{len(rows)} incidents", parts=counts)


def harness_rows() -> Iterator[Row]:
    """A run of a reproduction against the service's own start."""
    for name in harnesses.TITLES:
        found = harnesses.measure(name)
        own, whole, start = (median(one) * 1e3 for one in (found.own, found.whole, found.start))
        detail = f"run {whole:.0f} ms (start {start:.0f} ms in it), own start {own:.0f} ms"
        # the bare server of the standard library starts in less time than any sandbox does
        bound = None if name == "plain" else HARNESS
        yield Row("harness", harnesses.TITLES[name], found.ratio, bound=bound, detail=detail, parts=asdict(found))


def capture_rows() -> Iterator[Row]:
    """Throughput and p99 with capture against without; nothing is promised, the cost is said."""
    for service in captures.COMMANDS:
        found = captures.measure(service)
        alone = found.windows["alone"]
        for mode in captures.MODES[1:]:
            parts = {name: [asdict(one) for one in windows] for name, windows in found.windows.items()}
            per_second = median(one.per_second for one in alone)
            detail = f"alone {per_second:.0f}/s; a request costs {found.added_us(mode):.0f} us more"
            yield Row("capture", f"{service}, {mode}: throughput", found.throughput(mode), detail=detail, parts=parts)
            milliseconds = median(one.p99 for one in alone) * 1e3
            yield Row("capture", f"{service}, {mode}: p99", found.p99(mode), detail=f"alone {milliseconds:.1f} ms")


def analysis_rows() -> Iterator[Row]:
    """The stages of an investigation in which nothing is executed."""
    folder, repos = os.environ.get("BENCH_INCIDENTS"), os.environ.get("BENCH_REPOS")
    cases = sorted(path.parent for path in Path(folder).glob("*/incident.yaml")) if folder else []
    for case in [None, *cases]:
        seconds = analyses.measure(case, Path(repos) if repos else None)
        detail = ", ".join(f"{stage} {value:.2f}" for stage, value in seconds.items())
        name = case.name if case else "the demo"
        yield Row("analysis", name, sum(seconds.values()), "s", ANALYSIS_S, detail, dict(seconds))
