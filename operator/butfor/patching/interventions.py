"""Interventions other than on code, and which outcome follows from what was run (design.md, *Outcome*).

An intervention is a runner of its own: the same play at bad with good's environment (ConfigChange), with the
downstream's healthy answer put back (Dependency), or with a limit lifted (Resource). Without a run there is no outcome.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from butfor.evidence.predicates import Judgement
from butfor.evidence.runs import Runner, RunOutcome, Tree
from butfor.evidence.verdicts import ClaimLevel, Counterfactual, Outcome

ORDER: tuple[Outcome, ...] = ("CodeChange", "ConfigChange", "Dependency", "Resource")
"""Where code tells good from bad under the same environment and downstreams, code is the cause: the others held at
good too. Configuration comes next for the same reason."""


@dataclass(frozen=True)
class Intervention:
    """One thing set to its healthy value (`heals`), and where it can be done, back again (`returns`).

    `healed`: the failure was gone in every run; None where a run could not tell. `returned`: with the faulty value
    put into the healthy side the failure was there; None where that was not tried or could not be told.
    """

    kind: Outcome
    name: str
    healed: bool | None
    returned: bool | None = None
    runs: int = 0
    reason: str = ""
    judgements: list[Judgement] = field(default_factory=list)


def intervene(
    kind: Outcome,
    name: str,
    healing: Runner,
    tree: Tree,
    *,
    faulty: Runner | None = None,
    faulty_tree: Tree | None = None,
    repeats: int = 3,
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
        kind,
        name,
        healed,
        _every(back, "bad", "good") if back else None,
        len(outcomes),
        reasons[0] if reasons else "",
        [o.judgement for o in outcomes],
    )


def _every(outcomes: list[RunOutcome], wanted: Judgement, opposite: Judgement) -> bool | None:
    seen = {outcome.judgement for outcome in outcomes}
    if seen == {wanted}:
        return True
    return False if opposite in seen else None


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
    holding = [r for r in every if r.healed and r.returned is not False]
    for kind in ORDER[:2]:
        found = [r for r in holding if r.kind == kind]
        if found:
            return kind, f"{found[0].name}: set to its healthy value the failure is gone"
    kinds = sorted({r.kind for r in holding}, key=ORDER.index)
    firm = [r for r in holding if r.returned]
    if len({r.kind for r in firm}) == 1:
        kinds, holding = [firm[0].kind], firm
    if len(kinds) == 1:
        return kinds[0], f"{holding[0].name}: set to its healthy value the failure is gone"
    if kinds:
        names = ", ".join(f"{r.kind} ({r.name})" for r in holding)
        return "Inconclusive", f"each of these alone heals it, so the runs cannot tell them apart: {names}"
    return "Inconclusive", _why_not(every)


def _why_not(results: list[Intervention]) -> str:
    if not results:
        return "no intervention was run"
    words = [
        f"{r.kind} ({r.name}): " + ("the failure stays" if r.healed is False else r.reason or "cannot tell")
        for r in results
    ]
    return "nothing that was set to its healthy value heals it: " + "; ".join(words)
