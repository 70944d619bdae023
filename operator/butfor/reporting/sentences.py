"""The verdict in words: the headline, and what a claim means."""

from __future__ import annotations

import re

from butfor.evidence.kernels import JoinSummary
from butfor.evidence.predicates import AnswerProperty, FailurePredicate
from butfor.evidence.verdicts import Claim, Verdict

CLAIMS = {
    "Proved": "Runs show it: the failure begins with this change, goes away without it, and comes with it.",
    "Bisected": "Runs show that the failure begins with this commit; that it is the cause alone is not shown.",
    "Suspected": "The evidence points here, but no run has shown it yet.",
    "None": "Nothing is claimed.",
}


CONDITION = "Runs show it: set to its healthy value the failure goes away, and with the faulty one good fails too."
THINGS = {
    "ConfigChange": "a change of configuration",
    "Dependency": "the answer of a dependency",
    "Resource": "a resource limit",
}
"""What is to blame where no commit is."""


def meaning(verdict: Verdict) -> str:
    """Return what the verdict's claim says, in a sentence."""
    return CONDITION if verdict.claim == "Proved" and verdict.outcome in THINGS else CLAIMS[verdict.claim]


def _thing(verdict: Verdict) -> str:
    """What is to blame instead of a commit, the first part that runs named, and how many more there are."""
    parts = verdict.counterfactual.necessary.details
    more = f" and {len(parts) - 1} more" if len(parts) > 1 else ""
    return THINGS[verdict.outcome] + (f" ({parts[0]}{more})" if parts else "")


def symptom(predicate: FailurePredicate | None) -> str:
    """Return the failure in a few words, e.g. `GET /pay ending in status 500 with KeyError`."""
    if predicate is None:
        return "the failure"
    text = f"{predicate.method} {predicate.route}"
    if predicate.by_kernel:
        return f"{text} with {beneath(predicate)} beneath, whatever it is answered"
    if predicate.ended:
        text += {"timeout": " timing out", "closed": " being cut off", "truncated": " breaking off"}[predicate.ended]
    elif predicate.status is not None:
        text += f" answering {predicate.status}"
    elif predicate.slower_than_s is not None:
        text += f" taking more than {predicate.slower_than_s:.3g} s"
    if predicate.answer and predicate.ended is None:
        text += _answer(predicate.answer)
    if predicate.exception_types:
        text += f" with {predicate.exception_types[0]}"
    return text


def beneath(predicate: FailurePredicate) -> str:
    """Return what the kernel saw of a failure, e.g. `connect ECONNREFUSED`."""
    return ", ".join(
        f"{one.kind.replace('_', ' ')} {one.errno or one.target_type}".strip() for one in predicate.kernel[:2]
    )


def _answer(answer: AnswerProperty) -> str:
    """What is wrong with an answer; the words that it lacks are left out, since they may be a customer's."""
    if answer.kind in ("header_is", "header_missing"):
        return f" with another {answer.value.partition(':')[0]} header"
    said = {"tokens_lost": " without part of its content", "body_lacks": " without part of its content"}
    return said.get(answer.kind, " with another content")


def headline(verdict: Verdict) -> str:
    """Return the one sentence that an engineer on call reads first."""
    what = symptom(verdict.predicate)
    if verdict.outcome == "Inconclusive":
        if verdict.predicate is None:
            return "No failure was recognised in the capture"
        return f"Not decided: what causes {what}{_place(verdict)}"
    name = _thing(verdict) if verdict.outcome in THINGS else _commit(verdict)
    if verdict.claim == "Proved":
        return f"But for {name}, {what} would not have happened"
    if verdict.claim == "Bisected":
        return f"{what[0].upper()}{what[1:]} begins with {name}"
    return f"Suspected: {name} causes {what}"


def _commit(verdict: Verdict) -> str:
    top = verdict.suspects[0] if verdict.suspects else None
    if top is None:
        return "a change"
    where = f" ({verdict.functions[0].name})" if verdict.functions else ""
    quoted = f"\N{LEFT DOUBLE QUOTATION MARK}{top.subject}\N{RIGHT DOUBLE QUOTATION MARK}"
    return f"commit {top.commit[:12]} {quoted}{where}"


def _place(verdict: Verdict) -> str:
    """Where the exception was raised, as far as that is known."""
    frame = verdict.predicate.frame if verdict.predicate else None
    if frame is None:
        return ""
    return f", raised in {frame.function}" + (f" of {verdict.raised_in}" if verdict.raised_in else "")


def ran(verdict: Verdict) -> bool:
    """Whether anything was executed at all."""
    facts = verdict.counterfactual
    claims = facts.transition.runs + facts.necessary.runs + facts.sufficient.runs
    return bool(verdict.reproduction.bad_runs + verdict.reproduction.good_runs + verdict.bisection.runs + claims)


def held(claim: Claim) -> str:
    """Return `yes`, `no` or `cannot tell`."""
    return {True: "yes", False: "no", None: "cannot tell"}[claim.held]


def visible(text: str) -> str:
    """Return text with control and direction-changing characters made visible, so that nothing is disguised."""
    return "".join(one if one.isprintable() or one in "\n\t" else f"\\u{ord(one):04x}" for one in text)


def masked(text: str) -> str:
    """Return text with the values of queries left out: they may be a customer's."""
    return re.sub(r"([?&][^=&?\s]+=)[^&\s]+", r"\1***", text)


def joins(join: JoinSummary) -> str:
    """How many of the kernel's events belong to which span, in one line."""
    if not join.exact + join.inferred + join.unattributed + join.outside:
        return "no kernel events"
    outside = f", {join.outside} outside any request" if join.outside else ""
    said = f"{join.exact} joined exactly, {join.inferred} by inference, {join.unattributed} not{outside}"
    return f"kernel events: {said}"
