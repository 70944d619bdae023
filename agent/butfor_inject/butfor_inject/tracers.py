"""A service that carries OpenTelemetry already: its spans stay its own, and what we saw is tied to them."""

from __future__ import annotations

import sys
from typing import Any

from butfor_inject import contexts, recorders

_watched: Any = None
"""The tracer provider that our processor listens to."""

_SERVER_KIND = "SERVER"


def active() -> bool:
    """Whether a real tracer provider is set in this process; our processor is then added to it."""
    module = sys.modules.get("opentelemetry.trace")
    if module is None:
        return False
    provider = getattr(module, "_TRACER_PROVIDER", None)
    if provider is None or not hasattr(provider, "add_span_processor"):
        return False
    _listen(provider)
    return True


def _listen(provider: Any) -> None:
    global _watched  # noqa: PLW0603 - one provider per process is OpenTelemetry's own rule
    if provider is not _watched:
        _watched = provider
        provider.add_span_processor(_Listener())
        recorders.recorder().process.instrumentation = "otlp"
        recorders.recorder().process.write()


def ids_now() -> tuple[str, str] | None:
    """Trace and span id of the tracer's current span, or None."""
    module = sys.modules.get("opentelemetry.trace")
    if module is None:
        return None
    context = module.get_current_span().get_span_context()
    return _ids(context) if context.is_valid else None


def _ids(context: Any) -> tuple[str, str]:
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


class _Listener:
    """A span processor (duck-typed): learns which server span belongs to the request being served."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:  # noqa: ARG002 - the processor's interface
        exchange = contexts.current.get()
        if exchange is None or exchange.trace is not None or exchange.finished:
            return
        if getattr(getattr(span, "kind", None), "name", "") == _SERVER_KIND:
            context = span.get_span_context()
            recorders.recorder().adopt(exchange, _ids(context))

    def _on_ending(self, span: Any) -> None:
        """Nothing to add: the span is its owner's."""

    def on_end(self, span: Any) -> None:
        """Nothing to add: the span is its owner's."""

    def shutdown(self) -> None:
        """Nothing is buffered."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the processor's interface
        """Nothing is buffered."""
        return True
