"""What is predicted of an exogenous node: set to its healthy value, it heals. Each is tested by a run later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from butfor.evidence.graphs import Node, Prediction, Slice

_ORDER = ("resource", "downstream", "config", "flag", "code_change", "input")


def predict(node: Node, evidence: Sequence[str]) -> Prediction:
    """The prediction for a node on the slice; `confirmed` stays None until a run says so."""
    outcome, intervention = {
        "code_change": ("CodeChange", f"revert {node.label} (revision {node.value or 'unknown'})"),
        "config": ("ConfigChange", f"set {node.label} back to {node.healthy_value or 'its healthy value'}"),
        "flag": ("ConfigChange", f"set flag {node.facts.get('key')} to {node.healthy_value or 'its default'}"),
        "downstream": ("Dependency", f"replay the healthy answer of {node.label} ({node.healthy_value or 'not seen'})"),
        "resource": ("Resource", f"lift {node.label}"),
        "input": ("CodeChange", f"send the request with {node.id.removeprefix('input:')} as healthy requests have it"),
    }[node.kind]  # fmt: skip
    return Prediction.model_validate({
        "node": node.id, "intervention": intervention, "outcome": outcome, "reason": _reason(node),
        "evidence": list(node.evidence or evidence),
    })  # fmt: skip


def rank(node: Node) -> tuple[int, int, float, str]:
    """What failed by itself first; a delay that the caller would not wait for after the caller's code."""
    late = node.kind == "downstream" and not node.facts.get("itself_failed")
    place = _ORDER.index("code_change") if late else _ORDER.index(node.kind)
    return (place, int(late), -node.unusual, node.id)


def _reason(node: Node) -> str:
    reasons = {"code_change": _of_code, "downstream": _of_downstream, "input": _of_input}
    return reasons[node.kind](node) if node.kind in reasons else _of_value(node)


def _of_value(node: Node) -> str:
    return f"{node.value} here; {node.unusual:.0%} of healthy requests do not have it"


def _of_code(node: Node) -> str:
    if node.facts.get("differs"):
        usual = ", ".join(node.facts["healthy_revisions"])
        return f"revision {node.value} here, {usual} in healthy requests"
    known = f"revision {node.value} ({node.facts.get('revision_from')})" if node.value else "the revision is not known"
    return f"{known}; the failing path runs through this service's code"


def _of_downstream(node: Node) -> str:
    facts = node.facts
    said = f"{node.value}; healthy requests get {node.healthy_value or 'nothing comparable'}"
    if facts.get("itself_failed"):
        return f"it failed by itself: {said}"
    if facts.get("outcome") == "timeout":
        took = facts.get("answered_in_s")
        answered = f"it took {took} s" if took is not None else "it had not answered"
        usual = " as it does for others too" if facts.get("within_healthy") else ""
        return f"the caller gave up after {facts.get('waited_s')} s; {answered}{usual}: delay and limit together"
    return f"differs by {', '.join(facts.get('differs', [])) or 'outcome'}: {said}"


def _of_input(node: Node) -> str:
    return f"{node.label}; {node.unusual:.0%} of healthy requests are otherwise; tells what triggers it, not why"


def settle(cut: Slice, healed: Mapping[str, bool | None]) -> Slice:
    """The slice after runs: per node that was set to its healthy value, whether the failure was gone.

    Nodes that are not named, or for which a run could not tell (None), keep what was known of them.
    """
    known = {node: said for node, said in healed.items() if said is not None}
    settled = [one.model_copy(update={"confirmed": known.get(one.node, one.confirmed)}) for one in cut.predictions]
    return cut.model_copy(update={"predictions": settled})
