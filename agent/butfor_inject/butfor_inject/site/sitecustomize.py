"""Found by `site` through PYTHONPATH when an interpreter starts: activates, then makes room for the next one."""

import os
import sys

_HERE = os.path.dirname(os.path.abspath(__file__))


def _activate() -> None:
    """Load our package from its file, not from sys.path, which stays exactly what it is without us."""
    from importlib.util import module_from_spec, spec_from_file_location

    package = os.path.dirname(_HERE)
    file = os.path.join(package, "__init__.py")
    spec = spec_from_file_location("butfor_inject", file, submodule_search_locations=[package])
    if spec is None or spec.loader is None:
        return
    if "butfor_inject" not in sys.modules:
        module = module_from_spec(spec)
        sys.modules["butfor_inject"] = module
        spec.loader.exec_module(module)
    from butfor_inject.activating import activate

    activate()


def _next() -> None:
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
