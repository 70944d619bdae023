"""Runs of a bisection against `git bisect run`, which is really run, on the same histories.

A history is a commit graph with branches and merges, and a culprit. Which runs are made depends on the graph and on
the ranking alone, so a run is an oracle here: bad where the culprit is an ancestor.
"""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from bench import histories
from butfor.bisecting import bisect
from butfor.evidence.runs import RunOutcome, SuiteOutcome, Tree
from butfor.evidence.suspects import Ranking, Suspect
from butfor.ports.repositories import Repository

Place = Callable[[random.Random, int], int | None]
"""Where a ranking of so many commits puts the culprit (from 0); None: there is no ranking."""
SIZES = (40, 60, 90, 130, 180, 250)
EACH = 3
"""Histories per size."""
SHARE_OF_MERGES = 0.15


def _useful(random_: random.Random, size: int) -> int:
    """First in six of ten, in the first five in nine of ten, anywhere in the rest."""
    drawn = random_.random()
    return 0 if drawn < 0.6 else random_.randrange(1, 5) if drawn < 0.9 else random_.randrange(5, size)


USEFUL = "culprit first in 6 of 10, in the first five in 9 of 10"
RANKINGS: dict[str, Place] = {
    "culprit first": lambda _random, _size: 0,
    USEFUL: _useful,
    "no ranking": lambda _random, _size: None,
    "culprit last": lambda _random, size: size - 1,
}


@dataclass(frozen=True)
class Figures:
    """Runs per history: ours under each ranking, and git's."""

    ours: dict[str, list[int]]
    git: list[int]

    def ratio(self, ranking: str) -> float:
        """The mean of the ratios, history by history."""
        return mean(mine / theirs for mine, theirs in zip(self.ours[ranking], self.git, strict=True))


@dataclass
class Oracle:
    """A runner that knows which commits hold the culprit."""

    bad: frozenset[str]
    runs: int = 0

    def run(self, tree: Tree, *, healthy: bool = True, keep_telemetry: Path | None = None) -> RunOutcome:  # noqa: ARG002
        """Judge without executing."""
        self.runs += 1
        return RunOutcome(judgement="bad" if tree.revision in self.bad else "good")

    def suite(self, tree: Tree, script: str, *, timeout_s: float = 900) -> SuiteOutcome:
        """Never asked for by a bisection."""
        raise NotImplementedError(f"{tree.label}: {script} ({timeout_s} s)")


def measure(seed: int = 20260101) -> Figures:
    """Every history under every ranking; the same each time, because everything is drawn from `seed`."""
    figures = Figures({name: [] for name in RANKINGS}, [])
    random_ = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="butfor-bench-") as scratch:
        for number, size in enumerate(size for size in SIZES for _ in range(EACH)):
            folder = Path(scratch) / str(number)
            steps = list(drawn(random_, size))
            shas = histories.write(folder, steps)
            culprit = random_.randrange(1, size)
            while not _is_over(steps, culprit, size - 1):
                culprit = random_.randrange(1, size)
            bad = frozenset(shas[i] for i in range(size) if _is_over(steps, culprit, i))
            figures.git.append(git_runs(folder, shas[0], shas[-1], shas[culprit]))
            for name, place in RANKINGS.items():
                ranking = ranked(random_, shas[1:], shas[culprit], place)
                figures.ours[name].append(our_runs(folder, Oracle(bad), ranking, (shas[0], shas[-1]), shas[culprit]))
    return figures


def drawn(random_: random.Random, size: int) -> Iterator[histories.Step]:
    """A graph of `size` commits: a main line with branches of one to six commits that are merged again."""
    main: list[int] = [0]
    branches: list[tuple[int, int]] = []
    yield histories.Step((), {"number": "0\n"}, "change 0")
    for number in range(1, size):
        last = number == size - 1
        if not last and len(branches) < 3 and random_.random() < SHARE_OF_MERGES:
            branches.append((number, random_.randrange(1, 7)))
            parents: tuple[int, ...] = (random_.choice(main[-4:]),)
        elif branches and (last or branches[0][1] <= 0):
            parents = (main[-1], branches.pop(0)[0])
            main.append(number)
        elif branches and random_.random() < 0.5:
            at = random_.randrange(len(branches))
            parents, branches[at] = (branches[at][0],), (number, branches[at][1] - 1)
        else:
            parents = (main[-1],)
            main.append(number)
        yield histories.Step(parents, {"number": f"{number}\n"}, f"change {number}")


def _is_over(steps: Sequence[histories.Step], culprit: int, number: int) -> bool:
    """Whether `culprit` is `number` or an ancestor of it."""
    waiting, seen = [number], set()
    while waiting:
        one = waiting.pop()
        if one == culprit:
            return True
        if one > culprit and one not in seen:
            seen.add(one)
            waiting += steps[one].parents
    return False


def ranked(random_: random.Random, shas: Sequence[str], culprit: str, place: Place) -> Ranking:
    """A ranking with the culprit where `place` says; probabilities fall with the rank, as a ranking's do."""
    at = place(random_, len(shas))
    if at is None:
        return Ranking()
    others = [sha for sha in shas if sha != culprit]
    random_.shuffle(others)
    order = [*others[:at], culprit, *others[at:]]
    weights = [1.0 / (1 + rank) ** 2 for rank in range(len(order))]
    return Ranking(
        suspects=[
            Suspect(commit=sha, score=weight, probability=weight / sum(weights))
            for sha, weight in zip(order, weights, strict=True)
        ]
    )


def our_runs(folder: Path, oracle: Oracle, ranking: Ranking, ends: tuple[str, str], culprit: str) -> int:
    """Runs until the culprit and its parents were seen; the wrong culprit is a defect, not a figure."""
    with (
        tempfile.TemporaryDirectory(prefix="butfor-bench-") as scratch,
        Repository(folder, Path(scratch)) as repository,
    ):
        found = bisect(repository, oracle, ranking, *ends)
    if found.culprit != culprit:
        raise RuntimeError(f"{folder}: {found.culprit} was found, {culprit} was planted")
    return found.bisection.runs


def git_runs(folder: Path, good: str, bad: str, culprit: str) -> int:
    """Runs that `git bisect run` makes."""
    variables = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    script = f"echo run >> runs; if git merge-base --is-ancestor {culprit} BISECT_HEAD; then exit 1; fi"
    said = ""
    for arguments in (["start", "--no-checkout", bad, good], ["run", "bash", "-c", script]):
        done = subprocess.run(
            ["git", "bisect", *arguments], cwd=folder, env=variables, capture_output=True, text=True, check=True
        )
        said = done.stdout
    if f"{culprit} is the first bad commit" not in said:
        raise RuntimeError(f"git found another commit than {culprit}: {said[-300:]}")
    return len((folder / "runs").read_text().splitlines())
