"""Shows readers in the kernel which span this thread works for, where the writer (`butfor_context`) was given.

`BUTFOR_CONTEXT` names the folder from which this interpreter can load it; without it everything here does nothing.

    before = show(ids)
    try: ...
    finally: restore(before)
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Callable, Tuple

from butfor_inject.boundaries import note

if TYPE_CHECKING:
    from butfor_inject.importing import Hooks
    from butfor_inject.settings import Settings

Ids = Tuple[str, str]
OURS = b"\xff" * 24
"""Ids under which recording itself is done; no span has them."""
_NAME = "butfor_context"
_activate: Callable[[Any], Any] | None = None
_shown: Callable[[], Any] | None = None


def show(ids: Ids) -> Any:
    """From now on this context works for the span; returns what it worked for before."""
    return None if _activate is None else restore(bytes.fromhex(ids[0] + ids[1]))


def show_if_none(ids: Ids) -> Any:
    """As `show`, but a span that was carried here already stays."""
    before = None if _shown is None else _shown()
    return before if before is not None else show(ids)


class Showing:
    """`with Showing(ids):` as `show` and `restore`; with None what is shown stays."""

    __slots__ = ("_before", "_ids")

    def __init__(self, ids: Ids | None) -> None:
        self._ids = ids

    def __enter__(self) -> None:
        self._before = show(self._ids) if self._ids is not None else None

    def __exit__(self, *_error: object) -> None:
        if self._ids is not None:
            restore(self._before)


def aside() -> Any:
    """As `show`, for work of ours that is no part of any span: a reader leaves it out."""
    return restore(OURS)


def restore(before: Any) -> Any:
    """What `show` returned, or 24 bytes or None, is shown again; returns what it stands in for."""
    if _activate is None:
        return None
    try:
        return _activate(before)
    except Exception as error:  # noqa: BLE001 - the service must not see failures of ours
        note("publishing", error)
        return None


def start(settings: Settings, hooks: Hooks, hooked: Callable[[str], None]) -> None:
    """Load the writer and publish who this process is; follow event loops and the tracer once they are loaded."""
    global _activate, _shown
    if not settings.context:
        return
    writer = _loaded(settings.context)
    resource = {"service.name": settings.service, "vcs.ref.head.revision": settings.revision}
    known = {key: value for key, value in resource.items() if value}

    def following(_module: Any) -> None:
        writer.install()
        writer.publish(known)

    following(None)
    _activate, _shown = writer.activate, writer.shown
    for name in ("uvloop", "greenlet"):
        hooks.add(name, following)
    hooks.add("asyncio.selector_events", _hook_transports)
    hooks.add("opentelemetry.context.contextvars_context", _late_tracer)
    hooked(f"{_NAME}:{','.join(writer.coverage())}")


def _hook_transports(module: Any) -> None:
    """A connection outlives the span that opened it: what it receives later is no work of that span.

    Only the span is left out of the context that the event loop keeps; whatever else is in it stays.
    """
    transport = module._SelectorTransport  # noqa: SLF001 - there is no public door
    original = transport._add_reader  # noqa: SLF001

    def _add_reader(self: Any, fd: Any, callback: Any) -> Any:
        before = restore(None)
        try:
            return original(self, fd, callback)
        finally:
            restore(before)

    transport._add_reader = _add_reader  # noqa: SLF001


def _late_tracer(module: Any) -> None:
    from butfor_inject import tracers

    tracers.hook_context(module)


def _loaded(folder: str) -> Any:
    """The writer from its own files, never through sys.path, which stays what it is without us."""
    from importlib.util import module_from_spec, spec_from_file_location

    package = os.path.join(folder, _NAME)
    spec = spec_from_file_location(_NAME, os.path.join(package, "__init__.py"), submodule_search_locations=[package])
    if spec is None or spec.loader is None:
        raise ImportError(f"{package} holds no writer")
    module = module_from_spec(spec)
    sys.modules[_NAME] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        for name in [name for name in sys.modules if name.partition(".")[0] == _NAME]:
            del sys.modules[name]
        raise
    return module
