"""Code-change nodes: one placeholder per service whose code took part; which change it was is for locate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from butfor.graphing import settings, spans
from butfor.graphing.builders import Builder
from butfor.graphing.scenes import Scene, Span, Tree

_REVISIONS = ("vcs.ref.head.revision", "vcs.revision", "git.commit.sha", "service.version")
"""What names the running code, most trusted first."""

_UNUSUAL = 0.8
"""Share of healthy requests that do not show what the kernel saw, from which on it differs."""


def add(builder: Builder, scene: Scene, *, flat: bool = False) -> None:
    """Adds a code-change node per service whose revision is known, and for the failing service always."""
    for service in sorted({*settings.services(scene), scene.predicate.service}):
        source, revision = _revision(scene.representative, service)
        if revision is None:
            source, revision = _from_manifest(scene, service)
        if revision is not None or service == scene.predicate.service:
            _add_code_change(builder, scene, service, source, revision, flat=flat)


def _revision(tree: Tree, service: str) -> tuple[str, str | None]:
    """Which attribute names the revision, and what it says.

    Of all the service's spans, since one that a proxy wrote for the service knows nothing of its code.
    """
    resources = [span.resource for span in tree.of_service(service)]
    return next(((key, r[key]) for key in _REVISIONS for r in resources if r.get(key)), ("unknown", None))


def _from_manifest(scene: Scene, service: str) -> tuple[str, str | None]:
    manifest = scene.timelines.telemetry.bundle.manifest
    known = [s.revision for s in manifest.services if s.name == service and s.revision] if manifest else []
    return ("manifest", known[0]) if known else ("unknown", None)


def _add_code_change(
    builder: Builder, scene: Scene, service: str, source: str, revision: str | None, *, flat: bool
) -> None:  # fmt: skip
    others = Counter(r for t in scene.healthy if (r := _revision(t, service)[1]))
    same = others[revision] if revision else 0
    total = sum(others.values())
    facts: dict[str, Any] = {
        "service": service, "revision": revision, "revision_from": source,
        "healthy_revisions": sorted(others)[:10], "differs": bool(total and revision and same < total),
    }  # fmt: skip
    ran = _ran(scene, service)
    node = builder.node(
        f"code_change:{service}", "code_change", f"a change to the code of {service}", ran, exogenous=True,
        value=revision, healthy_value=settings.most(others), facts=facts,
        unusual=round(1 - same / total, 6) if total and revision else 0.0,
    )  # fmt: skip
    _link_code(builder, scene, node, service, ran, flat=flat)


def _ran(scene: Scene, service: str) -> list[str]:
    """Evidence that the service's code ran in the failing request."""
    own = [span.id for span in scene.representative.of_service(service)[:1]]
    return own or spans.cite(scene.representative)


def _link_code(builder: Builder, scene: Scene, node: str, service: str, ran: Sequence[str], *, flat: bool) -> None:
    """To the frames of the service's repository; without any, to what the service did as a whole."""
    frames = [
        n for n in builder.nodes.values()
        if n.kind == "code" and n.frame and n.frame.in_repository and n.facts.get("service") == service
    ]  # fmt: skip
    for frame in frames:
        builder.edge(node, frame.id, "data", frame.evidence)
    for called in [n for n in builder.nodes.values() if n.kind == "kernel" and n.facts.get("service") == service]:
        if called.unusual >= _UNUSUAL:  # what a service asks of the kernel, its code asks
            builder.edge(node, called.id, "data", called.evidence)
    if flat:
        _link_raised(builder, node, service)
    elif not frames:
        builder.edge(node, _target(builder, scene, service), "data", ran)
        for call in _erroneous(scene, service):  # a call's limit and arguments are set by the caller's code
            builder.edge(node, spans.node_of(builder, scene, call.id), "data", [call.id])


def _link_raised(builder: Builder, node: str, service: str) -> None:
    for raised in list(builder.nodes.values()):
        if raised.kind in {"exception", "log"} and raised.facts.get("service") == service:
            builder.edge(node, raised.id, "data", raised.evidence)


def _target(builder: Builder, scene: Scene, service: str) -> str:
    own = scene.representative.of_service(service)[:1]
    return spans.node_of(builder, scene, own[0].id) if own else spans.request_id(scene)


def _erroneous(scene: Scene, service: str) -> Iterable[Span]:
    return [s for s in scene.representative.of_service(service)[1:] if s.error][:20]
