"""What may be said where a failure has more than one form: two bisections as one, and when it is the same failure."""

from __future__ import annotations

from dataclasses import replace

from butfor.bisecting import BisectionResult
from butfor.evidence.predicates import FailurePredicate
from butfor.evidence.verdicts import Claim, Counterfactual

OTHER_FORM = (
    "at this commit the request fails in another form than was captured, and that it is the same failure was not shown:"
    " bad did not heal without the commit"
)


def together(first: BisectionResult | None, second: BisectionResult) -> BisectionResult:
    """The second bisection's result with the runs of both."""
    if first is None:
        return second
    earlier, later = first.bisection, second.bisection
    both = later.model_copy(update={"runs": earlier.runs + later.runs, "steps": [*earlier.steps, *later.steps]})
    return replace(second, bisection=both)


def same_failure(claims: Counterfactual, predicate: FailurePredicate) -> Counterfactual:
    """The claims, the transition withdrawn where it may be that of another form and bad does not heal without it."""
    if not predicate.also or claims.necessary.held:
        return claims
    unknown = Claim(
        method=claims.transition.method, runs=claims.transition.runs, reason=OTHER_FORM,
        details=claims.transition.details,
    )  # fmt: skip
    return claims.model_copy(update={"transition": unknown})
