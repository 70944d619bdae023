"""Configuration and flags: what was set when it failed, against when it did not.

Configuration comes from resource attributes (deployment, version, host, environment), from span attributes below
`config.`, and from the environments of a service description, where good and bad differ in them. Flags come from
`feature_flag` events and records.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from butfor.graphing import spans
from butfor.graphing.builders import Builder
from butfor.graphing.inputs import shown
from butfor.graphing.scenes import Scene, Span, Tree

MAX_CONFIG = 50
_CONFIG = (
    "service.version", "service.instance.id", "deployment.", "process.environment_variable.", "process.runtime.",
    "process.command_args", "container.image.", "host.", "os.", "k8s.node.", "k8s.pod.name", "k8s.deployment.",
    "k8s.replicaset.", "cloud.", "config.", "app.config.",
)  # fmt: skip
_ALWAYS = ("service.version", "deployment.environment.name", "deployment.environment")
_INSTANCES = ("service.instance.id", "host.", "k8s.pod.name", "k8s.node.", "process.command_args", "cloud.")
_SECRETIVE = ("process.environment_variable.", "process.command_args", "config.", "app.config.")
_SEVERAL = 3
_SHARED = 0.9
_VARIANTS = ("feature_flag.result.variant", "feature_flag.variant", "feature_flag.result.value")
_NO_VALUE = "not set"
_Values = Sequence[Mapping[str, str]]


@dataclass(frozen=True)
class Environments:
    """A service's environment at good and at bad, as its description states them."""

    good: Mapping[str, str] = field(default_factory=dict)
    bad: Mapping[str, str] = field(default_factory=dict)

    def changed(self) -> list[str]:
        """Names whose values differ."""
        return sorted(k for k in {*self.good, *self.bad} if self.good.get(k) != self.bad.get(k))


def add(builder: Builder, scene: Scene, environments: Mapping[str, Environments]) -> None:
    """Adds config and flag nodes; they reach the spans that ran under them."""
    for service in services(scene):
        _add_config(builder, scene, service)
        _add_environment(builder, scene, service, environments.get(service, Environments()))
    _add_flags(builder, scene)


def services(scene: Scene) -> list[str]:
    """Services that took part in the representative request."""
    return sorted({place.span.service for place in scene.representative.places if place.span.service})


def _settings(tree: Tree, service: str) -> dict[str, str]:
    """Configuration values of a service in a request; the first span that states a value wins."""
    found: dict[str, str] = {}
    for span in tree.of_service(service):
        for source in (span.resource, span.attributes if any("config." in k for k in span.attributes) else {}):
            for key, value in source.items():
                if key.startswith(_CONFIG):
                    found.setdefault(key, value)
    return found


def _add_config(builder: Builder, scene: Scene, service: str) -> None:
    failing = [found for t in scene.failing if (found := _settings(t, service))]
    healthy = [found for t in scene.healthy if (found := _settings(t, service))]
    run = _outermost(scene, service)
    mine = _settings(scene.representative, service)
    compared = [_compared(key, value, failing, healthy) for key, value in mine.items()]
    told = [c for c in compared if c.unusual > 0 or c.key in _ALWAYS]
    for one in sorted(told, key=lambda c: (-c.unusual, c.key))[:MAX_CONFIG]:
        facts = {"service": service, "source": "telemetry", "failing_share": one.failing_share}
        private = scene.private and one.key.startswith(_SECRETIVE)
        node = builder.node(
            f"config:{service}:{one.key}", "config", f"{service}: {one.key}", [run.id], exogenous=True,
            value=shown(one.value, private=private), unusual=one.unusual, facts=facts,
            healthy_value=one.healthy_value and shown(one.healthy_value, private=private),
        )  # fmt: skip
        builder.edge(node, spans.node_of(builder, scene, run.id), "data", [run.id])


@dataclass(frozen=True)
class _Compared:
    key: str
    value: str
    healthy_value: str | None
    failing_share: float
    unusual: float


def _compared(key: str, value: str, failing: _Values, healthy: _Values) -> _Compared:
    """A value counts as unusual only where (nearly) all failing requests share it.

    What names one instance is shared by any single request: it takes several failing ones to mean something.
    """
    share = sum(found.get(key) == value for found in failing) / max(len(failing), 1)
    usual = Counter(found.get(key, _NO_VALUE) for found in healthy)
    few = key.startswith(_INSTANCES) and len(failing) < _SEVERAL
    unusual = round(1 - usual[value] / len(healthy), 6) if healthy and share >= _SHARED and not few else 0.0
    return _Compared(key, value, most(usual), round(share, 4), unusual)


def _add_environment(builder: Builder, scene: Scene, service: str, environments: Environments) -> None:
    """Values are not shown: environments hold secrets; that and where they differ is enough to intervene."""
    run = _outermost(scene, service)
    for name in environments.changed():
        node = builder.node(
            f"config:{service}:environment:{name}", "config", f"{service}: ${name}", [run.id], exogenous=True,
            value="bad's" if name in environments.bad else _NO_VALUE,
            healthy_value="good's" if name in environments.good else _NO_VALUE, unusual=1.0,
            facts={"service": service, "source": "description", "variable": name},
        )  # fmt: skip
        builder.edge(node, spans.node_of(builder, scene, run.id), "data", [run.id])


def _outermost(scene: Scene, service: str) -> Span:
    return scene.representative.of_service(service)[0]


def most(counted: Counter[str]) -> str | None:
    """The most frequent value, the smallest of several; None where there is none."""
    return min(counted, key=lambda value: (-counted[value], value), default=None)


Flag = tuple[str, str, str, str]
"""Key, variant, span, evidence."""


def _add_flags(builder: Builder, scene: Scene) -> None:
    failing = [_flags(tree, scene) for tree in scene.failing]
    healthy = [{(key, value) for key, value, *_ in _flags(tree, scene)} for tree in scene.healthy]
    seen: dict[tuple[str, str], list[Flag]] = defaultdict(list)
    for flag in (flag for flags in failing for flag in flags):
        seen[flag[0], flag[1]].append(flag)
    for (key, value), flags in sorted(seen.items()):
        usual = Counter(v for found in healthy for k, v in found if k == key)
        share = len({f[2].partition("/")[0] for f in flags}) / len(scene.failing)
        node = builder.node(
            f"flag:{key}={value}", "flag", f"{key} is {value}", [f[3] for f in flags], exogenous=True, value=value,
            healthy_value=most(usual) or _NO_VALUE, facts={"failing_share": round(share, 4), "key": key},
            unusual=scene.unusual(sum((key, value) in found for found in healthy), unknown=0.0),
        )  # fmt: skip
        for flag in flags[:3]:
            builder.edge(node, spans.node_of(builder, scene, flag[2]), "data", [flag[3]])


def _flags(tree: Tree, scene: Scene) -> list[Flag]:
    found: list[Flag] = []
    below = {place.span.id for place in tree.places}
    for place in tree.places:
        for index, event in enumerate(place.span.events):
            if (event["name"] or "").startswith("feature_flag"):
                found += _flag(dict(event["attributes"] or []), place.span.id, f"{place.span.id}#{index}")
        if "feature_flag.key" in place.span.attributes:
            found += _flag(place.span.attributes, place.span.id, place.span.id)
    for log in scene.logs:
        if log.span in below and "feature_flag.key" in log.attributes:
            found += _flag(log.attributes, log.span, f"log:{log.row}")
    return found


def _flag(attributes: Mapping[str, str], span: str, evidence: str) -> list[Flag]:
    key = attributes.get("feature_flag.key")
    value = next((attributes[v] for v in _VARIANTS if v in attributes), None)
    return [(key[:100], value[:100], span, evidence)] if key and value is not None else []
