"""Resource nodes: a limit that was reached, or something that two requests wanted at once.

An exception of the families `exhausted` and `conflict` names the resource. Requests of the same service that ran
at that moment are who else may have held it: `call` nodes with resource-conflict edges.
"""

from __future__ import annotations

from butfor.evidence import families, names
from butfor.evidence.timelines import RequestSeen
from butfor.graphing import spans
from butfor.graphing.builders import Builder
from butfor.graphing.scenes import Scene

_MAX_HOLDERS = 5
_MAX_LOGS = 30
_SEVERE = ("ERROR", "FATAL", "CRITICAL")
LIMITS = {
    "exhausted.disk": "free space on the disk", "exhausted.quota": "the disk quota",
    "exhausted.files": "open files (RLIMIT_NOFILE)", "exhausted.memory": "memory (RLIMIT_AS or the container's limit)",
    "exhausted.processes": "processes and threads (RLIMIT_NPROC)", "exhausted.pool": "the size of a pool",
    "exhausted.ports": "local ports", "exhausted.size": "the largest size allowed (RLIMIT_FSIZE or a request limit)",
    "exhausted.rate": "the request rate allowed", "exhausted": "a limit",
    "conflict.lock": "a lock", "conflict.deadlock": "locks taken in another order", "conflict.address": "an address",
    "conflict.busy": "something in use", "conflict.stale": "a row that another wrote", "conflict": "something shared",
}  # fmt: skip
"""What each family's limit is. `exhausted.recursion` is not here: endless recursion is code, not a limit."""
_SHARED = ("conflict", "exhausted.pool", "exhausted.ports")


def add(builder: Builder, scene: Scene, *, flat: bool = False) -> None:
    """Adds a resource node for each exception and each severe log record that names a limit."""
    raised = [n for n in builder.nodes.values() if n.kind == "exception" and n.facts.get("family") in LIMITS]
    for node in sorted(raised, key=lambda n: n.id):
        family = node.facts["family"]
        reached = resource(builder, node.facts["service"], family, node.evidence, node.unusual)
        builder.edge(reached, node.id, "resource_conflict", node.evidence)
        if any(families.is_a(family, shared) for shared in _SHARED) and not flat:
            add_holders(builder, scene, reached, node.facts["service"])
    _add_logs(builder, scene, flat=flat)


def resource(builder: Builder, service: str, family: str, evidence: list[str], unusual: float) -> str:
    """Adds the node of a limit that was reached and returns its id."""
    return builder.node(
        f"resource:{service}:{family}", "resource", LIMITS[family], evidence, exogenous=True, value="reached",
        healthy_value="not reached", unusual=unusual, facts={"family": family, "service": service},
    )  # fmt: skip


def add_holders(builder: Builder, scene: Scene, wanted: str, service: str) -> None:
    """Adds other requests of the service that overlap the failing one, as causes of the node `wanted`."""
    failed = scene.representative.request
    others = [
        r for r in scene.timelines.requests
        if r.service == service and r.span != failed.span and _overlap(r, failed)
    ]  # fmt: skip
    for other in sorted(others, key=lambda r: (r.start_ns, r.span))[:_MAX_HOLDERS]:
        facts = {"service": other.service, "overlaps": True}
        node = builder.node(f"call:{other.span}", "call", f"{other.method} {other.route}", [other.span], facts=facts)
        builder.edge(node, wanted, "resource_conflict", [other.span, failed.span])


def _overlap(one: RequestSeen, other: RequestSeen) -> bool:
    ends = [r.start_ns + int(r.duration_s * 1e9) for r in (one, other)]
    return one.start_ns < ends[1] and other.start_ns < ends[0]


def _add_logs(builder: Builder, scene: Scene, *, flat: bool) -> None:
    """Severe records of failing requests, with how many healthy requests log the same."""
    failing = {t.request.span.partition("/")[0] for t in scene.failing}
    healthy = {t.request.span.partition("/")[0] for t in scene.healthy} - failing
    severe = [log for log in scene.logs if log.severity.upper().startswith(_SEVERE)]
    said: dict[str, set[str]] = {}
    for log in severe:
        said.setdefault(names.name(log.body), set()).add(log.span.partition("/")[0])
    mine = [log for log in severe if log.span.partition("/")[0] in failing]
    for log in mine[:_MAX_LOGS]:
        template = names.name(log.body)
        node = f"log:{log.service}:{template}"
        unusual = scene.unusual(len(said[template] & healthy), unknown=1.0)
        builder.node(node, "log", template, [f"log:{log.row}"], unusual=unusual, facts={"service": log.service})
        target = spans.FAILURE if flat else spans.node_of(builder, scene, log.span)
        builder.edge(node, target, "happens_before", [f"log:{log.row}"])
        _add_logged_limit(builder, log.service, log.body, log.row, node, unusual)


def _add_logged_limit(builder: Builder, service: str, body: str, row: int, node: str, unusual: float) -> None:
    family = families.family(["Error"], body)  # a class that says nothing: only the text counts
    if family in LIMITS and f"resource:{service}:{family}" not in builder.nodes:
        reached = resource(builder, service, family, [f"log:{row}"], unusual)
        builder.edge(reached, node, "resource_conflict", [f"log:{row}"])
