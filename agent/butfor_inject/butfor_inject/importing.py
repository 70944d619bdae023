"""Hooks that run once a module has been loaded by the service; nothing is imported on the service's behalf."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from typing import Any, Callable, Iterable

from butfor_inject.boundaries import attempt

Hook = Callable[[Any], None]


class _Loader:
    """The real loader, then our hooks."""

    def __init__(self, loader: Any, after: Callable[[Any], None]) -> None:
        self._loader = loader
        self._after = after

    def create_module(self, spec: ModuleSpec) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        spec = getattr(module, "__spec__", None)
        if spec is not None:
            spec.loader = self._loader
        module.__loader__ = self._loader
        self._loader.exec_module(module)
        self._after(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


class Hooks:
    """A finder that is asked first, answers only for hooked modules, and finds them by the finders after it."""

    def __init__(self, hooked: Callable[[str], None]) -> None:
        self._hooks: dict[str, list[Hook]] = {}
        self._hooked = hooked

    def add(self, name: str, hook: Hook) -> None:
        """Run `hook(module)` when `name` is loaded, or now if it is."""
        module = sys.modules.get(name)
        if module is not None and not _loading(module):
            self._run(name, module, [hook])
        else:
            self._hooks.setdefault(name, []).append(hook)

    def add_all(self, hooks: Iterable[tuple[str, Hook]]) -> None:
        """Add several."""
        for name, hook in hooks:
            self.add(name, hook)

    def _run(self, name: str, module: Any, hooks: list[Hook]) -> None:
        for hook in hooks:
            if attempt(f"hook {name}", _applied, hook, module):
                self._hooked(f"{name}:{hook.__name__}")

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """importlib's finder interface."""
        if name not in self._hooks:
            return None
        hooks = self._hooks.pop(name)
        spec = _following(self, name, path, target)
        if spec is None or spec.loader is None or not hasattr(spec.loader, "exec_module"):
            self._hooks[name] = hooks
            return spec
        spec.loader = _Loader(spec.loader, lambda module: self._run(name, module, hooks))  # type: ignore[assignment]
        return spec


def _following(finder: Hooks, name: str, path: Any, target: Any) -> ModuleSpec | None:
    for other in sys.meta_path:
        find = getattr(other, "find_spec", None)
        if other is not finder and find is not None:
            spec: ModuleSpec | None = find(name, path, target)
            if spec is not None:
                return spec
    return None


def _loading(module: Any) -> bool:
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def _applied(hook: Hook, module: Any) -> bool:
    hook(module)
    return True
