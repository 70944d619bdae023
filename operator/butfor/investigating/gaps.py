"""What the capture cannot say, and what to give next so that it can be decided: in words for a person."""

from __future__ import annotations

from butfor.evidence.telemetry import Telemetry
from butfor.investigating.analyses import Analysis
from butfor.reporting.situations import raised

MEANINGS = {
    "manifest.json": "how the services were built and started: there is no manifest.json",
    "spans.otlp.jsonl": "what the services did: there is no span",
    "logs.otlp.jsonl": "what the services logged: there is no log record",
    "metrics.otlp.jsonl": "how loaded the machines were: there are no metrics",
    "payloads": "headers, bodies and answers: there are no payloads, so requests cannot be sent again as they were",
}
KERNEL = ("kernel.arrow", "stacks.arrow", "processes.arrow")


def gaps(telemetry: Telemetry) -> list[str]:
    """What the bundle does not hold, by content rather than by the names of its files."""
    missing = set(telemetry.bundle.missing)
    # any *.otlp.jsonl may hold spans or logs, whatever it is called
    missing -= {"spans.otlp.jsonl"} if telemetry.spans.num_rows else set()
    missing -= {"logs.otlp.jsonl"} if telemetry.logs.num_rows else set()
    found = [text for name, text in MEANINGS.items() if name in missing]
    return found + (["what the kernel saw: there are no kernel events"] if missing.intersection(KERNEL) else [])


def suspected(analysis: Analysis) -> tuple[str, str]:
    """The service whose code to look at first, and the revision that it ran; empty where not known."""
    predicate = analysis.timelines.predicate
    service = raised(analysis.timelines)[0] or _diverging(analysis) or (predicate.service if predicate else "")
    node = next((one for one in analysis.graph.nodes if one.id == f"code_change:{service}"), None)
    return service, (node.value or "") if node else ""


def _diverging(analysis: Analysis) -> str:
    nodes = {node.id: node for node in analysis.graph.nodes}
    first = next((nodes[one.node] for one in analysis.graph.divergence if one.node in nodes), None)
    return str(first.facts.get("service", "")) if first else ""


def wanted(analysis: Analysis) -> str:
    """The options that would let a commit be named."""
    service, revision = suspected(analysis)
    whose = f" (the repository of {service})" if service else ""
    return f"give --repo DIR{whose} --good REV --bad {revision[:40] or 'REV'}, and --service FILE to have it run"
