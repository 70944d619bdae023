"""The same reproduction with single things set to their healthy values: a downstream's answers, a limit, a variable.

A panel has one knob per thing; turned, its value is the healthy one. What follows from the runs is for whoever decides
the outcome. A tree labelled `good` (assembling.GOOD) runs with `good_environment`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from butfor.evidence import names
from butfor.evidence.plays import StubAnswer
from butfor.evidence.reproductions import Expectation
from butfor.evidence.runs import Tree
from butfor.evidence.services import ServiceDescription
from butfor.evidence.telemetry import Telemetry
from butfor.evidence.timelines import Timelines
from butfor.evidence.verdicts import Outcome
from butfor.reproducing.downstreams import Calls, healed
from butfor.reproducing.learning import Lesson
from butfor.reproducing.runners import LocalRunner

Answers = Mapping[str, list[StubAnswer]]
"""Per downstream its answers, in order."""
LATE_FACTOR, LATE_S = 3.0, 0.1
_ULIMIT = re.compile(r"\bulimit((?:[ \t]+-[A-Za-z]+)+)[ \t]+(\d+)")


@dataclass(frozen=True)
class Knob:
    """One thing that can be set to its healthy value: whose it is, which, and how it is told to a person."""

    service: str
    key: str
    label: str


@dataclass(frozen=True)
class Panel:
    """Things of one kind. `make(runner, knobs)` is the runner with these healthy and all others as they were."""

    kind: Outcome
    name: str
    runner: LocalRunner
    knobs: list[Knob]
    make: Callable[[LocalRunner, Sequence[Knob]], LocalRunner] = field(repr=False)

    def turned(self, knobs: Sequence[Knob]) -> LocalRunner:
        """Return the runner with these things healthy, the others faulty."""
        return self.make(self.runner, knobs)

    def opposite(self, knobs: Sequence[Knob]) -> LocalRunner:
        """Return the runner with these things faulty, the others healthy (a configuration's at the good tree)."""
        if self.kind == "ConfigChange":
            return self.turned(knobs)
        return self.turned([one for one in self.knobs if one not in knobs])

    def learned(self, good: Tree, bad: Tree) -> Panel:
        """Return the panel, judged by what good answers where everything is healthy.

        For a failure that good shows too: what it answers in health can only be seen with the cause gone; bad's
        healthy requests tell what drifts. Where good is not well even so, what was expected before stays.
        """
        lesson = Lesson(self.turned(self.knobs))
        lesson.show(bad, lesson.bad)
        for _ in range(2):
            lesson.show(good, lesson.good)
        failed = {a.id for shown in lesson.good for a in shown.outcome.answers if a.as_failure}
        fresh = {one.id: one for one in lesson.learn() if _well(one) and one.id not in failed}
        # under load a healthy request may have been hit as well: what it got then is not its answer
        kept = [one for one in self.runner.expected if one.id not in fresh and not _broken(one)]
        return replace(self, runner=self.runner.variant(expected=[*kept, *fresh.values()]))


def _well(one: Expectation) -> bool:
    return not _broken(one) and (one.role == "healthy" or int(one.status) < 400)


def _broken(one: Expectation) -> bool:
    return not isinstance(one.status, int) or one.status >= 500


def downstreams(runner: LocalRunner, timelines: Timelines, telemetry: Telemetry) -> Panel | None:
    """Return a knob per call that failing requests made to services not under suspicion; None without such calls.

    A turned call gets the answer (and the delay) of the healthy call that is most like it; what a failing request
    did not come to call gets the healthy calls' answers as they were. Healthy requests keep theirs.
    """
    own = runner.suspects | {runner.predicate.service}
    others = frozenset(one.name for one in runner.services) - own
    calls = Calls(telemetry, others, runner.workshop.scratch / "bodies" / "healthy")
    healthy = calls.stubs([timelines.requests[index] for index in timelines.healthy])
    requests = runner.parts.requests
    asked = {one.id: calls.stubs([timelines.requests[int(one.id[1:])]]) for one in requests}
    failing = [asked[one.id] for one in requests if one.role == "failing"]
    knobs = _call_knobs(failing, healthy)
    if not knobs:
        return None
    stubbed = sorted({name for answers in [healthy, *asked.values()] for name in answers})

    def make(base: LocalRunner, turned: Sequence[Knob]) -> LocalRunner:
        left = {(one.service, one.key) for one in knobs if one not in turned}
        stubs = {
            one.id: _answered(asked[one.id], healthy, left) if one.role == "failing" else dict(asked[one.id])
            for one in requests
        }
        kept = [one for one in requests if one.service not in stubbed]
        changed = {"requests": kept, "stubs": stubs, "stubbed": stubbed}
        return base.variant(parts=base.parts.model_copy(update=changed))

    return Panel("Dependency", "the downstream's healthy answer put back", runner, knobs, make)


def _call_knobs(failing: Sequence[Answers], healthy: Answers) -> list[Knob]:
    """Return one knob per service, method and normal form of the target, where a healthy answer is known."""
    found: dict[tuple[str, str], Knob] = {}
    for answers in failing:
        for name, every in answers.items():
            for one in every:
                best = healed(one, healthy.get(name, []))
                if best is not None:
                    said = f"{name}: {_key(one)} {_said(one, best)}"
                    found.setdefault((name, _key(one)), Knob(name, _key(one), said))
    return list(found.values())


def _key(one: StubAnswer) -> str:
    return f"{one.method} {names.target(one.target)}"


def _said(captured: StubAnswer, best: StubAnswer) -> str:
    how = captured.ended or str(captured.status)
    if captured.ended == "timeout":
        return f"(never answered, in health {best.status})"
    if captured.delay_s > max(LATE_FACTOR * best.delay_s, best.delay_s + LATE_S):
        return f"({how} after {captured.delay_s:.2f} s, in health {best.status} after {best.delay_s:.2f} s)"
    if how == str(best.status):
        return f"({how}, as in health, but with another answer)"
    return f"({how}, in health {best.status})"


def _answered(asked: Answers, healthy: Answers, left: set[tuple[str, str]]) -> dict[str, list[StubAnswer]]:
    """Return a failing request's calls, healed but for those in `left`, and after them what is answered in health.

    What any failing request is to be answered as captured must stay so, however often it is asked.
    """
    result = {}
    for name in {**asked, **healthy}:
        known = healthy.get(name, [])
        mine = [one if (name, _key(one)) in left else healed(one, known) or one for one in asked.get(name, [])]
        result[name] = mine + [one for one in known if (name, _key(one)) not in left]
    return result


def limits(runner: LocalRunner) -> Panel | None:
    """Return a knob per limit that a description (or its `run`, by `ulimit`) sets; None where there is none."""
    knobs = [
        knob for one in runner.services if one.name not in runner.parts.stubbed for knob in _limit_knobs(one)
    ]  # fmt: skip

    def make(base: LocalRunner, turned: Sequence[Knob]) -> LocalRunner:
        keys = {(one.service, one.key) for one in turned}
        return base.variant(
            services=[_lifted(one, {k for name, k in keys if name == one.name}) for one in base.services]
        )

    return Panel("Resource", "the limit lifted", runner, knobs, make) if knobs else None


def _limit_knobs(one: ServiceDescription) -> list[Knob]:
    found = [Knob(one.name, key, f"{one.name}: {key} {value}") for key, value in sorted(one.limits.items())]
    for match in _ULIMIT.finditer(one.run):
        letter = re.sub(r"[HS\s-]", "", match[1])[-1:]
        if letter:
            found.append(Knob(one.name, f"-{letter}", f"{one.name}: ulimit -{letter} {match[2]}"))
    return list({knob.key: knob for knob in found}.values())


def _lifted(one: ServiceDescription, keys: set[str]) -> ServiceDescription:
    """Return the service without these limits; `ulimit` of the lifted ones then does nothing, in child shells too."""
    kept = {key: value for key, value in one.limits.items() if key not in keys}
    letters = "".join(sorted(key[1:] for key in keys if key.startswith("-")))
    off = (
        f'ulimit() {{ local a; for a in "$@"; do case "$a" in -*[{letters}]*) return 0;; esac; done;'
        ' builtin ulimit "$@"; }; export -f ulimit\n'
    )
    return one.model_copy(update={"limits": kept, "run": off + one.run if letters else one.run})


def variables(runner: LocalRunner) -> Panel | None:
    """Return a knob per variable whose value differs between good and bad; None where none does.

    Turned knobs have good's value at bad; at a tree labelled `good` they, and only they, have bad's. Values are not
    told: environments hold secrets.
    """
    knobs = [
        Knob(one.name, name, f"{one.name}: ${name}") for one in runner.services for name in changed_variables(one)
    ]  # fmt: skip

    def make(base: LocalRunner, turned: Sequence[Knob]) -> LocalRunner:
        keys = {(one.service, one.key) for one in turned}
        return base.variant(
            services=[_exchanged(one, {k for name, k in keys if name == one.name}) for one in base.services]
        )

    return (
        Panel("ConfigChange", "the configuration of the good revision put back", runner, knobs, make) if knobs else None
    )


def changed_variables(one: ServiceDescription) -> list[str]:
    """Return the names of variables that good and bad set differently."""
    if one.good_environment is None:
        return []
    good, bad = one.good_environment, one.environment
    return sorted(name for name in {*good, *bad} if good.get(name) != bad.get(name))


def _exchanged(one: ServiceDescription, keys: set[str]) -> ServiceDescription:
    if not keys or one.good_environment is None:
        return one
    good, bad = one.good_environment, one.environment
    return one.model_copy(
        update={"environment": _with(bad, good, keys), "good_environment": _with(good, bad, keys)}
    )  # fmt: skip


def _with(base: Mapping[str, str], other: Mapping[str, str], keys: set[str]) -> dict[str, str]:
    """Return `base` with the named variables as `other` has them, unset where it has none."""
    return {k: v for k, v in base.items() if k not in keys} | {k: other[k] for k in sorted(keys) if k in other}
