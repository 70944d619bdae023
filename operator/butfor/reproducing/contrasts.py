"""Which captured requests bad answers otherwise than good: the failure where nothing in the capture tells it.

A wrong answer with a usual status looks like any other in a capture. Good is then the judge: everything that was
captured is sent, in its order, to good twice and to bad twice. What good and bad each answer alike both times, but
not the same, is a difference. What else drifts between the two revisions is learned on the other requests, as for
any reproduction (`butfor.reproducing.expectations`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from butfor.errors import InconclusiveError
from butfor.evidence.incidents import Symptom
from butfor.evidence.predicates import AnswerProperty, FailurePredicate
from butfor.evidence.reproductions import Expectation, PlanParts
from butfor.evidence.runs import Tree
from butfor.evidence.services import ServiceDescription
from butfor.evidence.timelines import RequestSeen, Timelines
from butfor.reproducing import expectations
from butfor.reproducing.assembling import GOOD, Workshop
from butfor.reproducing.attempts import stubs_of
from butfor.reproducing.carrying import Step, plan_requests
from butfor.reproducing.downstreams import Calls
from butfor.reproducing.expectations import Said
from butfor.reproducing.runners import LocalRunner
from butfor.reproducing.selections import Captured, everything

RUNS = 2
MOST_TOKENS = 50
FIRST_ERROR = 400
CLEAR = 2.0
"""Of several requests that lost a part of their answer, one is the failure if it lost so many times more."""


@dataclass(frozen=True)
class Difference:
    """One captured request (index into `Timelines.requests`) that bad answers otherwise than good.

    `share`: how much of good's answer is lost, 1 where the status differs. `answer`: what tells bad's answer;
    None where its status does.
    """

    index: int
    status: int | str
    share: float
    answer: AnswerProperty | None
    detail: str

    @property
    def mark(self) -> tuple[object, ...]:
        """What two differences have in common if they are one failure."""
        return (self.status, self.answer)


@dataclass(frozen=True)
class Contrast:
    """The requests that differ in one way, or none and the reason; `notes` name what differs otherwise."""

    members: list[int] = field(default_factory=list)
    answer: AnswerProperty | None = None
    reason: str = ""
    notes: list[str] = field(default_factory=list)
    runs: int = 0


def contrast(
    timelines: Timelines,
    services: Sequence[ServiceDescription],
    workshop: Workshop,
    suspects: frozenset[str],
    ends: tuple[str, str],
    symptom: Symptom,
    *,
    case: Path | None = None,
) -> Contrast:
    """Send all that was captured to good and bad (`ends`) and choose the difference that shows the symptom.

    Never raises for what the services do.
    """
    service = symptom.service if symptom.service in suspects else min(suspects)
    captured = everything(timelines, timelines.telemetry, service, frozenset(one.name for one in services))
    if not captured:
        return Contrast(reason="no captured request can be sent again")
    runner = _runner(timelines, services, workshop, suspects, service, captured, case)
    good = _answers(runner, Tree(revision=ends[0], label=GOOD))
    bad = _answers(runner, Tree(revision=ends[1], label="bad"))
    if not good or not bad:
        return Contrast(reason=f"{'bad' if good else 'good'} does not start", runs=runner.runs)
    return choose(differences(good, bad), timelines.requests, symptom, runner.runs)


def _runner(
    timelines: Timelines, services: Sequence[ServiceDescription], workshop: Workshop, suspects: frozenset[str],
    service: str, captured: list[Captured], case: Path | None,
) -> LocalRunner:  # fmt: skip
    steps = [Step("healthy", one) for one in captured]
    folder = workshop.scratch / "bodies" / "contrast"
    requests = plan_requests(steps, timelines.telemetry, folder)
    downstream = frozenset(one.name for one in services if one.name not in suspects and one.name != service)
    stubs = stubs_of(steps, Calls(timelines.telemetry, downstream, folder / "stubs"))
    stubbed = sorted({name for answers in stubs.values() for name in answers})
    parts = PlanParts(
        service=service, requests=[one for one in requests if one.service not in stubbed], case=case, way="sequence",
        stubs=stubs, stubbed=stubbed,
    )  # fmt: skip
    return LocalRunner(services, parts, FailurePredicate(service=service, method="", route=""), workshop, suspects)


def _answers(runner: LocalRunner, tree: Tree) -> dict[str, Said]:
    """Return what the tree answers alike each time, per request; nothing where it does not start."""
    runs: list[dict[str, Said]] = []
    for _ in range(RUNS):
        with runner.folder() as name:
            try:
                _, observation = runner.observe(tree, Path(name))
            except InconclusiveError:
                return {}
            runs.append(expectations.said(observation))
    names = [name for name in runs[0] if all(name in run for run in runs)]
    alike = {name: expectations.common([run[name] for run in runs]) for name in names}
    return {name: one for name, one in alike.items() if one is not None}


def differences(good: Mapping[str, Said], bad: Mapping[str, Said]) -> list[Difference]:
    """Return what tells bad's answers from good's, beyond the drift that the other answers of the same kind show.

    Both map `r<index>` to what was answered alike each time.
    """
    both = {name: (one, bad[name]) for name, one in good.items() if name in bad and name[1:].isdigit()}
    alike = {name: one for name, (one, now) in both.items() if one.status == now.status}
    result = []
    for name, (before, now) in both.items():
        others = {n: one for n, one in alike.items() if n != name}
        drift = expectations.learn_drift(before.kind, others, {n: bad[n] for n in others})
        found = _difference(int(name[1:]), before, now, expectations.demanded(name, before, drift))
        lost = before.names - now.names - {n for o in others for n in others[o].names - bad[o].names}
        result += [found or _without(int(name[1:]), now, lost)] if found or lost else []
    return result


def _without(index: int, bad: Said, lost: Iterable[str]) -> Difference:
    """Return the difference of an answer that lost headers which no other answer lost."""
    name = min(lost)
    return Difference(
        index, bad.status, 0.0, AnswerProperty(kind="header_missing", value=name), f"header {name} is gone"
    )  # fmt: skip


def differing(said: Said, asked: Expectation) -> Difference | None:
    """Return how an answer differs from what good is asked to answer; None where it does not."""
    good = Said(asked.status, said.kind, frozenset(asked.required), {}, "", asked.role)
    return _difference(0, good, said, asked)


def _difference(index: int, good: Said, bad: Said, asked: Expectation) -> Difference | None:
    if good.status != bad.status:
        return Difference(index, bad.status, 1.0, None, f"bad answers {bad.status}, good {good.status}")
    lost = [token for token in asked.required if token not in bad.tokens]
    own = [token for token in asked.own if token not in bad.tokens]
    shares = [
        (len(gone) / len(of), tolerance)
        for gone, of, tolerance in (
            (lost, asked.required, asked.tolerance),
            (own, asked.own, asked.own_tolerance),
        )
        if of
    ]
    if any(share > tolerance for share, tolerance in shares):
        value = json.dumps((own or lost)[:MOST_TOKENS])
        said = ", ".join((own or lost)[:3])
        return Difference(
            index, bad.status, max(share for share, _ in shares), AnswerProperty(kind="tokens_lost", value=value),
            f"bad's answer lacks {said[:120]}",
        )  # fmt: skip
    for name, value in sorted(asked.headers.items()):
        if bad.headers.get(name) != value:
            now = bad.headers.get(name, "")
            kept = AnswerProperty(kind="header_is", value=f"{name}: {now}")
            return Difference(index, bad.status, 0.0, kept, f"header {name} is {now!r}, good has {value!r}"[:160])
    return None


def _shows(request: RequestSeen, found: Difference, symptom: Symptom) -> bool:
    """Tell whether a difference is what the symptom says, as far as it says anything.

    Where a user saw an exception, only an error can be it; where a user waited, no answer's content is.
    """
    path = request.target.partition("?")[0].rstrip("/")
    if symptom.route is not None and symptom.route.rstrip("/") not in (request.route.rstrip("/"), path):
        return False
    wanted = symptom.status
    if wanted is None:
        error = not isinstance(found.status, int) or found.status >= 500
        return symptom.latency_over_ms is None and (symptom.exception is None or error)
    if isinstance(wanted, int) or wanted.isdecimal():
        # an error page in other words is not the error that was seen
        return found.status == int(wanted) and (found.answer is None or int(wanted) < FIRST_ERROR)
    closed = ("closed", "truncated", "refused")
    return found.status == wanted or (wanted in ("closed", "no answer") and found.status in closed)


def choose(found: Sequence[Difference], requests: Sequence[RequestSeen], symptom: Symptom, runs: int = 0) -> Contrast:
    """Choose the clearest difference and those that are the same one; two that are equally clear decide nothing.

    Another status is clearer than other words.
    """
    found = [one for one in found if _shows(requests[one.index], one, symptom)]
    if not found:
        return Contrast(reason="good and bad answer all that was captured alike", runs=runs)
    found = [one for one in found if one.answer is None] or found
    best = max(found, key=lambda one: one.share)
    same = [one for one in found if one.mark == best.mark]
    others = [one for one in found if one.mark != best.mark]
    told = [f"{requests[one.index].method} {requests[one.index].target[:80]}: {one.detail}" for one in [*same, *others]]
    rival = max((one.share for one in others), default=-1.0)
    if best.share < CLEAR * rival or (rival == best.share):
        return Contrast(
            reason="good and bad differ in more than one answer: " + "; ".join(told[:3])
            + "; name the route with --symptom", runs=runs,
        )  # fmt: skip
    notes = [f"good is the judge: {one}" for one in told[: len(same)][:3]]
    notes += [f"also differs between good and bad: {one}" for one in told[len(same) :][:3]]
    return Contrast([one.index for one in same], best.answer, "", notes, runs)
