"""Found by `site` through PYTHONPATH when an interpreter starts: activates, then makes room for the next one."""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def _load(name, file, package=None):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 - runs on any CPython 3
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location(name, file, submodule_search_locations=package)
    module = module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


def _activate():  # type: ignore[no-untyped-def] # noqa: ANN202 - runs on any CPython 3
    """Load our package from its file, not from sys.path, which stays exactly what it is without us."""
    package = os.path.dirname(_HERE)
    if "butfor_inject" not in sys.modules:
        _load("butfor_inject", os.path.join(package, "__init__.py"), [package])
    from butfor_inject.activating import activate

    activate()


def _next():  # type: ignore[no-untyped-def] # noqa: ANN202 - runs on any CPython 3
    """Run the sitecustomize that we stand in front of, if there is one."""
    from importlib.machinery import PathFinder
    from importlib.util import module_from_spec

    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry or os.curdir) != _HERE]
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is not None and spec.loader is not None:
        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


if sys.version_info >= (3, 8) and os.environ.get("BUTFOR_SPOOL"):
    try:
        _activate()
    except Exception as _error:  # noqa: BLE001 - the service must start whatever happens to us
        sys.stderr.write(f"butfor: not capturing: {type(_error).__name__}: {_error}\n")
_next()
