"""Interventions other than on code: run where both revisions fail, or where configuration differs too.

Of each kind everything is set to its healthy value at bad. Where that heals, delta debugging finds the fewest things
that do; these are run again, and then the other way round: at good, with only their faulty values.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from butfor.evidence.graphs import Prediction
from butfor.evidence.predicates import FailurePredicate, Judgement
from butfor.evidence.reproductions import Reproduction
from butfor.evidence.runs import Tree
from butfor.investigating.analyses import Analysis, History
from butfor.investigating.conditions import Tried
from butfor.investigating.contrasting import asked
from butfor.investigating.questions import Question
from butfor.patching import Intervention, intervene
from butfor.patching.ddmin import ddmin
from butfor.reproducing import Reproduced
from butfor.reproducing.assembling import GOOD
from butfor.reproducing.interventions import Knob, Panel, downstreams, limits, variables
from butfor.slicing import settle

REPEATS, MOST_REPEATS = 3, 20
MISSED = 0.01
"""A failure that shows now and then counts as gone after so many runs that all would miss it this seldom."""
SELDOM = "the failure shows too seldom to tell whether it is gone"
Watch = Callable[[str], None]


def fails_at_both(found: Reproduced) -> bool:
    """Whether the failure is there at good and bad alike: then no commit between them is to blame."""
    counts = found.reproduction
    return found.runner is not None and not counts.reproduced and min(counts.bad_failures, counts.good_failures) > 0


def unsaid(predicate: FailurePredicate, question: Question) -> bool:
    """Whether only the kernel told it, and nobody asked for that: what good answers otherwise comes first."""
    return predicate.by_kernel and question.symptom.kernel is None and asked(question.symptom)


def beyond_code(found: Reproduced, analysis: Analysis, history: History, watch: Watch, deadline: float) -> list[Tried]:
    """Set downstream answers and limits to their healthy values at bad, and back again at good."""
    assert found.runner is not None
    telemetry = analysis.timelines.telemetry
    good, bad = Tree(revision=history.good, label=GOOD), Tree(revision=history.bad, label="bad")
    panels = [downstreams(found.runner, analysis.timelines, telemetry), limits(found.runner)]
    repeats = repeats_for(rate_of(found.reproduction))
    return [
        _Attempt(panel.learned(good, bad), history, repeats, watch, deadline).tried()
        for panel in panels
        if panel is not None
    ]


def configuration(found: Reproduced, history: History, watch: Watch, deadline: float) -> Tried | None:
    """Run bad's code with good's values, and good's code with bad's; None where the two do not differ."""
    panel = variables(found.runner) if found.runner is not None else None
    if panel is None:
        return None
    return _Attempt(panel, history, repeats_for(rate_of(found.reproduction)), watch, deadline).tried()


def decides(tried: Intervention | None) -> bool:
    """Whether configuration alone is to blame: good's code fails with the same values.

    Where good's code is well with them, a commit tells good from bad under one environment, and is looked for.
    """
    return tried is not None and bool(tried.healed) and tried.returned is not False


def repeats_for(rate: float) -> int:
    """How many runs must all be well until a failure seen in this share of runs counts as gone."""
    if rate >= 1:
        return REPEATS
    if rate <= MISSED:
        return MOST_REPEATS + 1
    return max(REPEATS, math.ceil(math.log(MISSED) / math.log1p(-rate)))


def rate_of(report: Reproduction) -> float:
    """The share of runs of bad that fail, estimated with care where few were run (Laplace's rule of succession)."""
    return (report.bad_failures + 1) / (report.bad_runs + 2)


@dataclass
class _Attempt:
    """One kind of intervention under way."""

    panel: Panel
    history: History
    repeats: int
    watch: Watch
    deadline: float

    def tried(self) -> Tried:
        """All of it, then the fewest things that heal, both ways round."""
        knobs = self.panel.knobs
        done = self._seldom() if self.repeats > MOST_REPEATS else self._intervened(knobs, back=len(knobs) == 1)
        if done.healed and len(knobs) > 1:
            knobs = ddmin(knobs, self._heals)
            done = self._intervened(knobs, back=True)
        return Tried(done, self.panel.turned([]), self.panel.turned(knobs))

    def _seldom(self) -> Intervention:
        panel = self.panel
        return Intervention(panel.kind, panel.name, healed=None, reason=SELDOM, parts=[k.label for k in panel.knobs])

    def _intervened(self, knobs: list[Knob], *, back: bool) -> Intervention:
        panel = self.panel
        done = intervene(
            panel.kind, panel.name, panel.turned(knobs), self._bad(),
            faulty=panel.opposite(knobs) if back else None, faulty_tree=Tree(revision=self.history.good, label=GOOD),
            repeats=self.repeats, parts=[one.label for one in knobs],
            service=knobs[0].service if len({one.service for one in knobs}) == 1 else "",
        )  # fmt: skip
        said = {True: "heals", False: "does not heal", None: "cannot tell"}[done.healed]
        self.watch(f"{panel.name} ({'; '.join(done.parts[:3])}): {said}")
        return done

    def _heals(self, knobs: list[Knob]) -> Judgement:
        """`good` where every run is; one run does where the failure shows each time."""
        runner = self.panel.turned(knobs)
        for _ in range(1 if self.repeats <= REPEATS else self.repeats):
            if time.monotonic() > self.deadline:
                return "unknown"
            judgement = runner.run(self._bad()).judgement
            if judgement != "good":
                return judgement
        return "good"

    def _bad(self) -> Tree:
        return Tree(revision=self.history.bad, label="bad")


def marked(analysis: Analysis, interventions: list[Intervention], suspects: frozenset[str] = frozenset()) -> Analysis:
    """The analysis with the slice's predictions confirmed or refuted, as far as these runs tested them.

    `suspects`: services whose code at good was seen to fail as well, so that no commit of theirs is to blame.
    """
    healed = {one.node: _healed(one, interventions, suspects) for one in analysis.cut.predictions}
    return replace(analysis, cut=settle(analysis.cut, healed))


def _healed(prediction: Prediction, interventions: list[Intervention], suspects: frozenset[str]) -> bool | None:
    """Whether setting a node to its healthy value healed; None where these runs do not tell."""
    done = next((one for one in interventions if one.kind == prediction.outcome), None)
    if done is not None and done.healed is False:
        return False
    if done is not None and done.healed and any(_names(prediction.node, part) for part in done.parts):
        return True
    ruled_out = prediction.outcome == "CodeChange" and prediction.node in {f"code_change:{name}" for name in suspects}
    return False if ruled_out else None


def _names(node: str, part: str) -> bool:
    """Whether a node (`kind:service...`) is of the service that a part (`service: what`) names."""
    service, _, what = part.partition(": ")
    place = node.partition(":")[2]
    if node.startswith("config:"):
        return place == f"{service}:environment:{what.removeprefix('$')}"
    return place.startswith((f"{service}:", f"{service}/"))
