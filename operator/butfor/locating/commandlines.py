"""What the operator set when the service was started, as words that code may contain.

A service that is started with an option runs the code that reads it; code of options that it was started without may
be as wrong as it likes. Failing and healthy requests have it in common, so it says far less than what differs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from butfor.evidence.timelines import Timelines

MOST_ARGUMENTS = 200
LONGEST_ARGUMENT = 200
_OPTION = re.compile(r"--?([A-Za-z][A-Za-z0-9_.-]+)(?:=.*)?", re.DOTALL)
_SETTING = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[_-][A-Za-z0-9]+)+")
"""An argument that reads like the name of a setting: paths, addresses and plain words say nothing of code."""


def options(timelines: Timelines) -> Iterator[tuple[str, str]]:
    """The word of each option that a failing service was started with, and the argument it comes from."""
    manifest = timelines.telemetry.bundle.manifest
    failing = {timelines.requests[i].service for i in timelines.failing if i < len(timelines.requests)}
    for service in manifest.services if manifest else ():
        if not failing or service.name in failing:
            for argument in service.command[1:MOST_ARGUMENTS]:
                yield from ((word, argument[:LONGEST_ARGUMENT]) for word in _named(argument[:LONGEST_ARGUMENT]))


def _named(argument: str) -> list[str]:
    option = _OPTION.fullmatch(argument)
    name = option[1] if option else argument if _SETTING.fullmatch(argument) else ""
    return [word for word in dict.fromkeys((name.replace("-", "_"), *re.split(r"[-.]", name))) if len(word) > 1]
