"""Where ASGI and WSGI servers load or call their application: that is where it is wrapped."""

from __future__ import annotations

import inspect
from typing import Any, Callable

from butfor_inject import asgis, wsgis
from butfor_inject.boundaries import attempt
from butfor_inject.contexts import copied


def after(owner: Any, name: str, then: Callable[..., Any]) -> None:
    """Have `then(self, ...)` called when the method has returned; AttributeError if there is no such method."""
    original = getattr(owner, name)

    def method(self: Any, *arguments: Any, **named: Any) -> Any:
        result = original(self, *arguments, **named)
        attempt(f"{owner.__name__}.{name}", then, self)
        return result

    setattr(owner, name, copied(method, original))


def _wrap_attribute(name: str, wrapped: Callable[[Any], Any]) -> Callable[[Any], None]:
    def wrap(server: Any) -> None:
        application = getattr(server, name, None)
        if callable(application):
            setattr(server, name, wrapped(application))

    return wrap


def uvicorn(module: Any) -> None:
    """uvicorn.config: every interface is ASGI 3 once loaded."""
    after(module.Config, "load", _wrap_attribute("loaded_app", asgis.wrapped))


def hypercorn(module: Any) -> None:
    """hypercorn.app_wrappers."""
    after(module.ASGIWrapper, "__init__", _wrap_attribute("app", asgis.wrapped))
    after(module.WSGIWrapper, "__init__", _wrap_attribute("app", wsgis.wrapped))


def hypercorn_utils(module: Any) -> None:
    """hypercorn.utils before there were application wrappers."""
    if hasattr(module, "wrap_app") or not hasattr(module, "invoke_asgi"):
        return
    original = module.load_application

    def load_application(*arguments: Any, **named: Any) -> Any:
        return asgis.wrapped(original(*arguments, **named))

    module.load_application = copied(load_application, original)


def daphne(module: Any) -> None:
    """daphne.server, for ASGI 3 applications."""

    def wrap(server: Any) -> None:
        application = server.application
        if any(inspect.iscoroutinefunction(f) for f in (application, getattr(application, "__call__", None))):  # noqa: B004
            server.application = asgis.wrapped(application)

    after(module.Server, "__init__", wrap)


_WSGI_WORKERS = {"SyncWorker", "ThreadWorker", "AsyncWorker"}


def gunicorn(module: Any) -> None:
    """gunicorn.workers.base: the workers that call a WSGI application themselves."""

    def wrap(worker: Any) -> None:
        if any(kind.__name__ in _WSGI_WORKERS for kind in type(worker).__mro__) and callable(worker.wsgi):
            worker.wsgi = wsgis.wrapped(worker.wsgi)

    after(module.Worker, "load_wsgi", wrap)


def gunicorn_asgi(module: Any) -> None:
    """gunicorn's own ASGI worker."""
    after(module.ASGIWorker, "load_wsgi", _wrap_attribute("asgi", asgis.wrapped))


def waitress(module: Any) -> None:
    """waitress.server."""
    after(module.BaseWSGIServer, "__init__", _wrap_attribute("application", wsgis.wrapped))


def waitress_task(module: Any) -> None:
    """waitress.task: where a request's environment is made."""
    original = module.WSGITask.get_environment

    def get_environment(self: Any) -> Any:
        environ = original(self)
        environ[wsgis.SOCKET_KEY] = getattr(self.channel, "socket", None)
        return environ

    module.WSGITask.get_environment = copied(get_environment, original)


def werkzeug(module: Any) -> None:
    """werkzeug.serving, which flask's development server is too."""
    after(module.BaseWSGIServer, "__init__", _wrap_attribute("app", wsgis.wrapped))
    original = module.WSGIRequestHandler.make_environ

    def make_environ(self: Any, *arguments: Any, **named: Any) -> Any:
        environ = original(self, *arguments, **named)
        environ[wsgis.SOCKET_KEY] = getattr(self, "connection", None)
        return environ

    module.WSGIRequestHandler.make_environ = copied(make_environ, original)


def wsgiref(module: Any) -> None:
    """wsgiref.handlers, on which wsgiref's and django's servers stand."""
    original = module.BaseHandler.run

    def run(self: Any, application: Any) -> Any:
        socket = getattr(getattr(self, "stdout", None), "_sock", None)
        if socket is not None and isinstance(getattr(self, "base_env", None), dict):
            self.base_env[wsgis.SOCKET_KEY] = socket
        return original(self, wsgis.wrapped(application))

    module.BaseHandler.run = copied(run, original)


def cheroot(module: Any) -> None:
    """cheroot.wsgi, which CherryPy is too."""
    after(module.Server, "__init__", _wrap_attribute("wsgi_app", wsgis.wrapped))


def gevent(module: Any) -> None:
    """gevent.pywsgi."""
    after(module.WSGIServer, "__init__", _wrap_attribute("application", wsgis.wrapped))


HOOKS = [
    ("uvicorn.config", uvicorn),
    ("hypercorn.app_wrappers", hypercorn),
    ("hypercorn.utils", hypercorn_utils),
    ("daphne.server", daphne),
    ("gunicorn.workers.base", gunicorn),
    ("gunicorn.workers.gasgi", gunicorn_asgi),
    ("waitress.server", waitress),
    ("waitress.task", waitress_task),
    ("werkzeug.serving", werkzeug),
    ("wsgiref.handlers", wsgiref),
    ("cheroot.wsgi", cheroot),
    ("gevent.pywsgi", gevent),
]
