"""Starts what an interpreter was told to run when it ignores its environment (-I, -E, -S).

`--choose OPTIONS...`: the interpreter's own arguments; starts the same interpreter with the same options on `--run`.
`--run (-c CODE | -m MODULE | SCRIPT) ARGUMENTS...`: activates, then runs that as `__main__`.
"""

from __future__ import annotations

import os
import sys
from types import ModuleType

_OWN = os.path.abspath(__file__)
_PACKAGE = os.path.dirname(_OWN)
_WITH_VALUE = "WX"


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The interpreter's options, and what it is to run: `-c ...`, `-m ...`, a script, or nothing known."""
    options: list[str] = []
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        if not argument.startswith("-") or argument == "-":
            return options, arguments[position:]
        position += 1
        if argument.startswith("--"):
            options.append(argument)
            if argument == "--check-hash-based-pycs":
                options += arguments[position : position + 1]
                position += 1
            continue
        flags, command, value = _cluster(argument[1:])
        if command in ("c", "m"):
            options += [f"-{flags}"] if flags else []
            rest = arguments[position:] if not value else [value, *arguments[position:]]
            return options, [f"-{command}", *rest]
        options.append(argument)
        if command and not value:
            options += arguments[position : position + 1]
            position += 1
    return options, []


def _cluster(letters: str) -> tuple[str, str, str]:
    """`Bc` is B, then c with the rest as its value."""
    for index, letter in enumerate(letters):
        if letter in "cm" or letter in _WITH_VALUE:
            return letters[:index], letter, letters[index + 1 :]
    return letters, "", ""


def choose(arguments: list[str]) -> None:
    """Replace this process by the interpreter with the options it was given, running `--run` where it can."""
    options, command = split(arguments)
    interactive = any(not o.startswith("--") and set("ihV?") & set(o[1:]) for o in options)
    if not command or command[0] == "-" or interactive:
        os.execv(sys.executable, [sys.executable, *arguments])  # noqa: S606 - it is what was asked for
    os.execv(sys.executable, [sys.executable, *options, _OWN, "--run", *command])  # noqa: S606 - the same, through us


def run(command: list[str]) -> None:
    """Run a command as the interpreter would have: `__main__`, sys.argv and sys.path[0] are what they should be."""
    ours = (_PACKAGE, os.path.join(_PACKAGE, "site"))
    sys.path[:] = [entry for entry in sys.path if entry not in ours]
    _activate()
    main = ModuleType("__main__")
    main.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = main
    if command[0] == "-m":
        _first_on_path(os.getcwd())
        sys.argv = ["-m", *command[2:]]
        import runpy

        runpy._run_module_as_main(command[1])  # type: ignore[attr-defined] # noqa: SLF001 - what `python -m` calls
    elif command[0] == "-c":
        _first_on_path("")
        sys.argv = ["-c", *command[2:]]
        exec(compile(command[1], "<string>", "exec"), main.__dict__)  # noqa: S102 - it is `python -c`
    else:
        sys.argv = command
        _run_script(command[0], main)


def _run_script(script: str, main: ModuleType) -> None:
    import runpy

    if os.path.isdir(script) or (not script.endswith((".py", ".pyw")) and _is_zip(script)):
        runpy.run_path(script, run_name="__main__")
        return
    _first_on_path(os.path.dirname(os.path.realpath(script)))
    if sys.version_info >= (3, 9):
        script = os.path.abspath(script)
    main.__file__ = script
    main.__dict__["__cached__"] = None
    import io

    with io.open_code(os.path.abspath(script)) as file:
        source = file.read()
    exec(compile(source, script, "exec"), main.__dict__)  # noqa: S102 - it is `python SCRIPT`


def _is_zip(script: str) -> bool:
    with open(script, "rb") as file:
        return file.read(2) == b"PK"


def _safe_path() -> bool:
    return bool(sys.flags.isolated or getattr(sys.flags, "safe_path", False))


def _first_on_path(folder: str) -> None:
    if not _safe_path():
        sys.path.insert(0, folder)


def _activate() -> None:
    """As sitecustomize does, from the package's own files and never through sys.path."""
    try:
        from importlib.util import module_from_spec, spec_from_file_location

        file = os.path.join(_PACKAGE, "__init__.py")
        spec = spec_from_file_location("butfor_inject", file, submodule_search_locations=[_PACKAGE])
        if spec is None or spec.loader is None or "butfor_inject" in sys.modules:
            return
        module = module_from_spec(spec)
        sys.modules["butfor_inject"] = module
        spec.loader.exec_module(module)
        from butfor_inject.activating import activate

        activate()
    except Exception as error:  # noqa: BLE001 - the service must start whatever happens to us
        sys.stderr.write(f"butfor: not capturing: {type(error).__name__}: {error}\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--choose"]:
        choose(sys.argv[2:])
    elif sys.argv[1:2] == ["--run"] and len(sys.argv) > 2:
        run(sys.argv[2:])
    else:
        sys.exit("usage: run.py --run (-c CODE | -m MODULE | SCRIPT) [ARGUMENT...]")
