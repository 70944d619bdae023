"""What the manifest says of each service: what the caller knows, what its processes wrote, what its spans carry."""

from __future__ import annotations

from typing import Any, Literal, cast

from butfor.capturing.spools import Document, attributes_of
from butfor.evidence.bundles import CapturedService

Instrumentation = Literal["otlp", "injected", "wrapped", "proxy", "none"]
MAX_NOTES = 50


class Facts:
    """Collects per service while spans pass; `services()` gives the manifest's list."""

    def __init__(self, known: list[CapturedService], processes: list[Document]) -> None:
        self._known = {service.name: service for service in known}
        self._processes = [p for p in processes if isinstance(p.get("service"), str)]
        self._resources: dict[str, dict[str, str]] = {}
        self._server_spans: dict[str, int] = {}
        self._edge_spans: dict[str, int] = {}

    def see(self, resource: Document, span: Document) -> None:
        """Count one span for its service."""
        attributes = attributes_of(resource)
        name = attributes.get("service.name", "")
        if not name or (name not in self._resources and len(self._resources) >= 1000):
            return
        self._resources.setdefault(name, {}).update(attributes if not attributes_of(span).get("butfor.edge") else {})
        if span.get("kind") in {2, "SPAN_KIND_SERVER"}:
            counts = self._edge_spans if attributes_of(span).get("butfor.edge") else self._server_spans
            counts[name] = counts.get(name, 0) + 1

    def services(self) -> list[CapturedService]:
        """The known services first, in their order, then those that only spans or processes named."""
        names = [*self._known, *self._resources, *(str(p["service"]) for p in self._processes)]
        return [self._service(name) for name in dict.fromkeys(names)]

    def notes(self) -> list[str]:
        """What the processes noted, each once, with their service's name."""
        noted = [f"{p['service']}: {note}" for p in self._processes for note in texts(p.get("notes"))]
        return list(dict.fromkeys(noted))[:MAX_NOTES]

    def _service(self, name: str) -> CapturedService:
        service = self._known.get(name) or CapturedService(name=name)
        mine = [p for p in self._processes if p["service"] == name]
        found = {**self._from_spans(name), **(_from_process(mine) if mine else {})}
        given = {k: v for k, v in service.model_dump().items() if v and k not in {"instrumentation", "server_spans"}}
        sources = {s for p in mine for s in texts(p.get("exception_sources"))}
        return CapturedService.model_validate(
            {
                **found,
                **given,
                "name": name,
                "instrumentation": self._instrumentation(name, mine, service),
                "server_spans": self._server_spans.get(name) or self._edge_spans.get(name, 0),
                "exception_sources": sorted(sources) or service.exception_sources,
            }
        )

    def _instrumentation(self, name: str, mine: list[Document], service: CapturedService) -> Instrumentation:
        """Who made the server spans; a process that was injected but served nothing does not count."""
        if self._server_spans.get(name):
            said = [
                p.get("instrumentation") for p in mine if p.get("instrumentation") in {"injected", "wrapped", "otlp"}
            ]
            return cast("Instrumentation", said[0]) if said else "otlp"
        return "proxy" if self._edge_spans.get(name) else service.instrumentation

    def _from_spans(self, name: str) -> dict[str, Any]:
        resource = self._resources.get(name, {})
        found = {
            "version": resource.get("service.version"),
            "revision": resource.get("vcs.ref.head.revision"),
            "interpreter": resource.get("process.executable.path"),
        }
        return {k: v for k, v in found.items() if v}


def _from_process(processes: list[Document]) -> dict[str, Any]:
    """The process with most distributions speaks for its service (a shell or a reloader has few)."""
    chosen = max(processes, key=lambda p: len(p["distributions"]) if isinstance(p.get("distributions"), dict) else 0)
    distributions = chosen.get("distributions")
    found: dict[str, Any] = {
        "command": texts(chosen.get("command")),
        "flags": texts(chosen.get("flags")),
        "distributions": {
            str(k): str(v) for k, v in (distributions.items() if isinstance(distributions, dict) else ())
        },
    }
    for key in ("directory", "interpreter"):
        if isinstance(chosen.get(key), str):
            found[key] = chosen[key]
    return found


def texts(value: Any) -> list[str]:
    """The texts in what should be a list of them."""
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
