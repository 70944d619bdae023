"""How long a search waits for an answer that may never come: each run of a hang lasts as long as its client waits."""

from __future__ import annotations

from butfor.evidence.reproductions import Reproduction
from butfor.reproducing import LocalRunner

TIMES = 10.0
LEAST_S = 1.5
"""Good's answer may take so many times as long, and at least so long, before a search counts it as missing."""


def hasty(runner: LocalRunner, found: Reproduction) -> LocalRunner:
    """A runner for the search of patches, where the failure is a hang and good's duration is known; else the same.

    Only *good* counts there, which no shorter wait can bring about; what is found is verified with the client's own.
    """
    if runner.predicate.ended != "timeout" or found.slowness is None or found.slowness.good_s <= 0:
        return runner
    bound = max(LEAST_S, TIMES * found.slowness.good_s)
    requests = [
        one.model_copy(update={"timeout_s": min(one.timeout_s, bound)}) if one.role == "failing" else one
        for one in runner.parts.requests
    ]
    return runner.variant(parts=runner.parts.model_copy(update={"requests": requests}))
