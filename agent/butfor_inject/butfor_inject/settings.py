"""What the environment tells us: where to write, who we are, how much of a body to keep."""

from __future__ import annotations

import os
from typing import Mapping

DEFAULT_LIMIT = 33_554_432


class Settings:
    """The `BUTFOR_*` variables of this process. `payload_limit` is bytes per body."""

    __slots__ = ("context", "functions", "payload_limit", "revision", "roots", "service", "spool")

    def __init__(self, spool: str, variables: Mapping[str, str]) -> None:
        self.spool = os.path.abspath(spool)
        self.service = variables.get("BUTFOR_SERVICE") or "service"
        self.roots = [r for r in variables.get("BUTFOR_SOURCE_ROOT", "").split(os.pathsep) if r]
        self.revision = variables.get("BUTFOR_REVISION", "")
        self.context = variables.get("BUTFOR_CONTEXT", "")
        self.functions = variables.get("BUTFOR_FUNCTIONS", "") == "1"
        self.payload_limit = _positive(variables.get("BUTFOR_PAYLOAD_LIMIT", ""), DEFAULT_LIMIT)


def _positive(text: str, otherwise: int) -> int:
    return int(text) if text.isdigit() else otherwise


def read(variables: Mapping[str, str]) -> Settings | None:
    """The settings, or None when no spool is named: then nothing is captured."""
    spool = variables.get("BUTFOR_SPOOL", "")
    return Settings(spool, variables) if spool else None
