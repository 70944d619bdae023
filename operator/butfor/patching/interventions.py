"""Interventions other than on code, and which outcome follows from what was run (design.md, *Outcome*).

An intervention is a runner of its own: the same play at bad with good's environment (ConfigChange), with the
downstream's healthy answer put back (Dependency), or with a limit lifted (Resource). Without a run there is no outcome.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from butfor.evidence.predicates import Judgement
from butfor.evidence.runs import Runner, RunOutcome, Tree
from butfor.evidence.verdicts import Claim, ClaimLevel, Counterfactual, Outcome

ORDER: tuple[Outcome, ...] = ("CodeChange", "ConfigChange", "Dependency", "Resource")
"""Where code tells good from bad under the same environment and downstreams, code is the cause: the others held at
good too. Configuration comes next for the same reason."""
MOST_PARTS = 4
NO_COMMIT = "no commit is to blame: good and bad fail alike under the same conditions"


@dataclass(frozen=True)
class Intervention:
    """One thing set to its healthy value (`heals`), and where it can be done, back again (`returns`).

    `healed`: the failure was gone in every run; None where a run could not tell. `returned`: with the faulty value
    put into the healthy side the failure was there; None where that was not tried or could not be told.
    `parts`: the smallest set of things that had to be set, in words. `healed_runs` of `runs` were at bad.
    """

    kind: Outcome
    name: str
    healed: bool | None
    returned: bool | None = None
    runs: int = 0
    reason: str = ""
    judgements: list[Judgement] = field(default_factory=list)
    parts: list[str] = field(default_factory=list)
    healed_runs: int = 0
    service: str = ""
    """Whose thing it is, where it is one service's."""

    @property
    def returned_runs(self) -> int:
        """How many runs had the faulty value put back."""
        return self.runs - self.healed_runs


def intervene(
    kind: Outcome,
    name: str,
    healing: Runner,
    tree: Tree,
    *,
    faulty: Runner | None = None,
    faulty_tree: Tree | None = None,
    repeats: int = 3,
    parts: Iterable[str] = (),
    service: str = "",
) -> Intervention:
    """Run `tree` (bad) with the healthy value in place; and with `faulty`, the healthy side with the faulty value."""
    healthy_side = [healing.run(tree) for _ in range(repeats)]
    healed = _every(healthy_side, "good", "bad")
    back = []
    if faulty is not None and healed:
        back = [faulty.run(faulty_tree or tree, healthy=False) for _ in range(repeats)]
    outcomes = healthy_side + back
    reasons = [o.reason for o in outcomes if o.judgement == "unknown" and o.reason]
    return Intervention(
        kind, name, healed, _returned(back) if back else None, len(outcomes), reasons[0] if reasons else "",
        [o.judgement for o in outcomes], list(parts), len(healthy_side), service,
    )  # fmt: skip


def _every(outcomes: list[RunOutcome], wanted: Judgement, opposite: Judgement) -> bool | None:
    seen = {outcome.judgement for outcome in outcomes}
    if seen == {wanted}:
        return True
    return False if opposite in seen else None


def _returned(outcomes: list[RunOutcome]) -> bool | None:
    """A failure that shows now and then has returned as soon as it shows; it is refuted where no run shows it."""
    seen = {outcome.judgement for outcome in outcomes}
    return True if "bad" in seen else False if seen == {"good"} else None


def claim_level(claims: Counterfactual, suspects: int = 0) -> ClaimLevel:
    """`Proved` (all three), `Bisected` (transition only), `Suspected` (a ranking only), or `None`."""
    if claims.transition.held and claims.necessary.held and claims.sufficient.held:
        return "Proved"
    if claims.transition.held:
        return "Bisected"
    return "Suspected" if suspects else "None"


def decide_outcome(results: Iterable[Intervention]) -> tuple[Outcome, str]:
    """The outcome that was shown by runs, and why; `Inconclusive` where none heals or several kinds do alike."""
    every = list(results)
    found = deciding(every)
    if found is not None:
        return found.kind, told(found)
    holding = [r for r in every if r.healed and r.returned is not False]
    if holding:
        names = ", ".join(f"{r.kind} ({r.name})" for r in holding)
        return "Inconclusive", f"each of these alone heals it, so the runs cannot tell them apart: {names}"
    return "Inconclusive", _why_not(every)


def deciding(results: Iterable[Intervention]) -> Intervention | None:
    """The intervention that the outcome rests on, or None where none does."""
    holding = [r for r in results if r.healed and r.returned is not False]
    for kind in ORDER[:2]:
        found = next((r for r in holding if r.kind == kind), None)
        if found is not None:
            return found
    holding = [r for r in holding if r.returned] or holding
    # a downstream that fails for want of a resource of its own: the resource is the deeper of the two
    owned = {r.service for r in holding if r.kind == "Resource" and r.service}
    holding = [r for r in holding if r.kind != "Dependency" or r.service not in owned]
    return holding[0] if len({r.kind for r in holding}) == 1 else None


def told(found: Intervention) -> str:
    """What was set, and what the runs then showed, in words."""
    said = f"{_subject(found)}: the failure is gone"
    if found.healed_runs:
        said += f" in {found.healed_runs} of {found.healed_runs} runs of bad"
    if found.returned:
        count = found.judgements[found.healed_runs :].count("bad")
        said += (
            f"; {_FAULTY.get(found.kind, 'with the faulty value')} good fails too, in {count} of {found.returned_runs}"
        )
    return said


_FAULTY: dict[Outcome, str] = {
    "ConfigChange": "with bad's value",
    "Dependency": "with the answer as captured",
    "Resource": "with the limit",
}


def _subject(found: Intervention) -> str:
    more = len(found.parts) - MOST_PARTS
    parts = "; ".join(found.parts[:MOST_PARTS]) + (f"; {more} more" if more > 0 else "")
    return f"{found.name}, {parts}" if parts else found.name


def claims(found: Intervention) -> Counterfactual:
    """The claims that an intervention supports: taken out of bad, and put into good. No commit, no transition."""
    back = found.judgements[found.healed_runs :]
    return Counterfactual(
        transition=Claim(reason=NO_COMMIT),
        necessary=Claim(
            method=f"bad, {found.name}", held=found.healed, runs=found.healed_runs,
            reason="" if found.healed is not None else found.reason, details=found.parts,
        ),
        sufficient=Claim(
            method=f"good, {_FAULTY.get(found.kind, 'with the faulty value')}", held=found.returned, runs=len(back),
            reason="" if found.returned is not None else found.reason or "not run", details=found.parts,
        ),
    )  # fmt: skip


def _why_not(results: list[Intervention]) -> str:
    if not results:
        return "no intervention was run"
    words = [f"{r.kind} ({r.name}): {_outcome_of(r)}" for r in results]
    return "nothing that was set to its healthy value heals it: " + "; ".join(words)


def _outcome_of(result: Intervention) -> str:
    if result.healed is False:
        return "the failure stays"
    if result.healed and result.returned is False:
        return "heals, but with the faulty value good is well too"
    return result.reason or "cannot tell"
