"""A service that carries OpenTelemetry already: its spans stay its own, and what we saw is tied to them."""

from __future__ import annotations

import sys
from typing import Any

from butfor_inject import contexts, publishing, recorders
from butfor_inject.boundaries import attempt

_watched: Any = None
"""The tracer provider that our processor listens to."""

_SERVER_KIND, _CLIENT_KIND = "SERVER", "CLIENT"


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


def suppressed() -> bool:
    """Whether what runs now is the tracer's own work, such as an export, and no work of the service."""
    module = sys.modules.get("opentelemetry.context")
    key = getattr(module, "_SUPPRESS_INSTRUMENTATION_KEY", None)
    return module is not None and key is not None and bool(module.get_value(key))


def notes_statement(exchange: Any) -> bool:
    """Whether another tracer's span of a database statement is open in this request: then ours is not needed."""
    span = exchange.foreign
    if span is None or getattr(span, "end_time", 0) is not None:
        return False
    return any(key.startswith("db.") for key in list(span.attributes or ()))


class _Listener:
    """A span processor (duck-typed): learns which server span belongs to the request being served."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:  # noqa: ARG002 - the processor's interface
        exchange = contexts.current.get()
        if exchange is None or exchange.finished:
            return
        kind = getattr(getattr(span, "kind", None), "name", "")
        if kind == _CLIENT_KIND:
            exchange.foreign = span
        elif kind == _SERVER_KIND and exchange.trace is None:
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


def hook_context(module: Any) -> None:
    """opentelemetry.context.contextvars_context: readers in the kernel are shown the span of the current context."""
    runtime = module.ContextVarsRuntimeContext
    attach, detach = runtime.attach, runtime.detach

    def attached(self: Any, context: Any) -> Any:
        token = attach(self, context)
        attempt("publishing", _publish, context)
        return token

    def detached(self: Any, token: Any) -> None:
        try:
            detach(self, token)
        finally:
            attempt("publishing", _publish, self.get_current())

    runtime.attach = contexts.copied(attached, attach)
    runtime.detach = contexts.copied(detached, detach)


def _publish(context: Any) -> None:
    """A span that another process began is not ours to work for: then it is the request's own."""
    module = sys.modules.get("opentelemetry.trace")
    found = module.get_current_span(context).get_span_context() if module is not None else None
    if found is not None and found.is_valid and not found.is_remote:
        publishing.restore(found.trace_id.to_bytes(16, "big") + found.span_id.to_bytes(8, "big"))
        return
    exchange = contexts.current.get()
    publishing.restore(None if exchange is None or exchange.finished else bytes.fromhex("".join(exchange.ids)))
