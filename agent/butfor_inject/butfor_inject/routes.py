"""The route's template, where a framework says which one it chose."""

from __future__ import annotations

from typing import Any

from butfor_inject.boundaries import attempt
from butfor_inject.contexts import copied, current


def starlette(module: Any) -> None:
    """starlette.routing, on which fastapi stands: mounts add their prefix, routes end the template."""
    _before_handle(module.Route, _route)
    _before_handle(module.Mount, _mount)


def _before_handle(owner: Any, then: Any) -> None:
    original = owner.handle

    async def handle(self: Any, *arguments: Any, **named: Any) -> Any:
        attempt("route", then, self)
        return await original(self, *arguments, **named)

    owner.handle = copied(handle, original)


def _route(route: Any) -> None:
    exchange = current.get()
    if exchange is not None and isinstance(getattr(route, "path", None), str):
        exchange.route = exchange.prefix + route.path


def _mount(mount: Any) -> None:
    exchange = current.get()
    if exchange is not None and isinstance(getattr(mount, "path", None), str):
        exchange.prefix += mount.path
        exchange.route = exchange.prefix + "/{path}"


def werkzeug(module: Any) -> None:
    """werkzeug.routing.matcher, on which flask stands."""
    original = module.StateMachineMatcher.match

    def match(self: Any, *arguments: Any, **named: Any) -> Any:
        found = original(self, *arguments, **named)
        exchange = current.get()
        if exchange is not None and exchange.route is None and isinstance(found, tuple) and found:
            exchange.route = getattr(found[0], "rule", None)
        return found

    module.StateMachineMatcher.match = copied(match, original)


def flask(module: Any) -> None:
    """flask.app: an exception that the service's own handler turns into an answer is remembered."""
    original = module.Flask.handle_user_exception

    def handle_user_exception(self: Any, e: Any) -> Any:
        exchange = current.get()
        code = getattr(e, "code", None)
        if exchange is not None and not (isinstance(code, int) and code < 500):
            attempt("flask", exchange.remember, e, "raised")
        return original(self, e)

    module.Flask.handle_user_exception = copied(handle_user_exception, original)


def django(module: Any) -> None:
    """django.core.handlers.base."""
    original = module.BaseHandler.resolve_request

    def resolve_request(self: Any, request: Any) -> Any:
        found = original(self, request)
        exchange = current.get()
        if exchange is not None and isinstance(getattr(found, "route", None), str):
            exchange.route = "/" + found.route.lstrip("^/")
        return found

    module.BaseHandler.resolve_request = copied(resolve_request, original)


HOOKS = [
    ("starlette.routing", starlette),
    ("werkzeug.routing.matcher", werkzeug),
    ("flask.app", flask),
    ("django.core.handlers.base", django),
]
