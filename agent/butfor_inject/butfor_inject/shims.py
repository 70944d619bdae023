"""Doors into a service that is started as it always is: programs first on PATH, and the variables to start it with.

Nothing here runs in the service; `make_shims` and `environment` are called by whoever starts it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Iterable

MARK = ".butfor-shims"
SHIMS_LIMIT = 500
_SCAN_LIMIT = 20_000
_PYTHON = re.compile(r"python(3(\.\d+)?)?$")
PACKAGE = Path(os.path.abspath(__file__)).parent
SITE = PACKAGE / "site"

_SCRIPT = """#!/bin/sh
# Starts the program of this name that comes later on PATH, with {site} first on PYTHONPATH.
set -f
name=${{0##*/}}
site=${{BUTFOR_SITE:-'{site}'}}
real=
kept=$IFS
IFS=:
for folder in $PATH; do
    [ -e "${{folder:-.}}/{mark}" ] && continue
    [ -f "${{folder:-.}}/$name" ] && [ -x "${{folder:-.}}/$name" ] && real=${{folder:-.}}/$name && break
done
IFS=$kept
set +f
[ -n "$real" ] || {{ echo "$name: not found" >&2; exit 127; }}
case ${{PYTHONPATH-}} in
    "$site" | "$site":*) ;;
    *) PYTHONPATH=$site${{PYTHONPATH:+:$PYTHONPATH}} ;;
esac
export PYTHONPATH
[ -n "${{BUTFOR_SPOOL-}}" ] || exec "$real" "$@"
case $name in
    python | python[23] | python[23].*)
        # An interpreter told to ignore its environment is started through run.py, which knows all of its options.
        skip=
        for option in "$@"; do
            [ -z "$skip" ] || {{ skip=; continue; }}
            case $option in
                --check-hash-based-pycs | -*[WX]) skip=yes ;;
                --*) ;;
                -[!cmWX]*[IES]* | -[IES]*) exec "$real" -I -S "${{site%/site}}/run.py" --choose "$@" ;;
                -*[cm]* | -) break ;;
                -*) ;;
                *) break ;;
            esac
        done ;;
    *)
        IFS= read -r first < "$real"
        case $first in
            '#!'*python*' -'*[IES]*)
                set -f
                set -- ${{first#\\#!}} "$real" "$@"
                set +f
                interpreter=$1
                shift
                exec "$interpreter" -I -S "${{site%/site}}/run.py" --choose "$@" ;;
        esac ;;
esac
exec "$real" "$@"
"""


def make_shims(folder: Path, path: str, site: str = str(SITE)) -> None:
    """Fill `folder`, to be put first on PATH, with a starter for every Python and Python script on `path`.

    `site` is this package's `site` folder as the service will see it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text("programs that start others of their name\n", encoding="utf-8")
    starter = folder / ".start"
    starter.write_text(_SCRIPT.format(site=site.replace("'", "'\\''"), mark=MARK), encoding="utf-8")
    starter.chmod(0o755)
    for name in sorted(_names(path)):
        link = folder / name
        if not link.is_symlink():
            link.symlink_to(starter.name)


def _names(path: str) -> set[str]:
    """Program names on `path` that start a Python, at most SHIMS_LIMIT; `python` and `python3` are always there."""
    names = {"python", "python3"}
    left = _SCAN_LIMIT
    for folder in dict.fromkeys(os.path.realpath(part or ".") for part in path.split(os.pathsep)):
        for entry in _entries(folder):
            left -= 1
            if left < 0 or len(names) >= SHIMS_LIMIT:
                return names
            if entry.name not in names and (_PYTHON.match(entry.name) or _is_python_script(entry)):
                names.add(entry.name)
    return names


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        if os.path.exists(os.path.join(folder, MARK)):
            return []
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return []


def _is_python_script(entry: os.DirEntry[str]) -> bool:
    """Whether its first lines hand it to a Python (pip's long-path form takes two lines)."""
    try:
        descriptor = os.open(entry.path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError:
        return False
    try:
        head = os.read(descriptor, 512)
    except OSError:  # a folder
        return False
    finally:
        os.close(descriptor)
    return head.startswith(b"#!") and b"python" in b"\n".join(head.splitlines()[:2])


def environment(
    site: Path,
    spool: Path,
    service: str,
    *,
    shims: Path | None = None,
    path: str = os.defpath,
    pythonpath: str = "",
    source_roots: Iterable[Path] = (),
    revision: str = "",
    payload_limit: int | None = None,
    functions: bool = False,
) -> dict[str, str]:
    """The variables to set for a process to be captured.

    `site` is this package's `site` folder as the process sees it, `shims` the folder that `make_shims` filled; `path`
    and `pythonpath` are what the process would have had as PATH and PYTHONPATH. Without `shims` PATH is not set.
    `functions`: the functions that run for the first requests are recorded.
    """
    values = {
        "BUTFOR_SPOOL": str(spool),
        "BUTFOR_SERVICE": service,
        "BUTFOR_SITE": str(site),
        "BUTFOR_SOURCE_ROOT": os.pathsep.join(str(root) for root in source_roots),
        "BUTFOR_REVISION": revision,
        "BUTFOR_PAYLOAD_LIMIT": "" if payload_limit is None else str(payload_limit),
        "BUTFOR_FUNCTIONS": "1" if functions else "",
        "PYTHONPATH": os.pathsep.join(part for part in (str(site), pythonpath) if part),
        "PATH": "" if shims is None else os.pathsep.join([str(shims), path]),
    }
    return {key: value for key, value in values.items() if value}
