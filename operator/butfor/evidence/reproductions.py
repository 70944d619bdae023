"""A reproduction: what is sent, what good answers, and how often it failed where."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from butfor.evidence._base import Frozen
from butfor.evidence.plays import PlannedRequest, StubAnswer
from butfor.evidence.predicates import FailurePredicate
from butfor.evidence.runs import Role


class Expectation(Frozen):
    """What good's answer to one request is made of, drift left out.

    `required` are the tokens (`reproducing.plain.answers`) that good always has; `own` are those that no other
    healthy request's answer has. At most the share `tolerance` of `required` and `own_tolerance` of `own` may
    be missing. `sha256` is set where good answered the same bytes each time; an equal body is *exact*.
    """

    id: str
    role: Role
    status: int | str
    headers: dict[str, str] = {}
    sha256: str | None = None
    required: list[str] = []
    own: list[str] = []
    tolerance: float = 0.0
    own_tolerance: float = 0.0


class PlanParts(Frozen):
    """The part of a plan that does not depend on the tree: requests, stubs and how they are sent.

    `stubs`: per request id, per downstream, its answers while that request was served; a run that leaves a
    request out keeps them as spare ones: other revisions may call what the failing request no longer did.
    `stubbed` names the downstreams that are not started.
    `way`: `alone` (failing requests from a fresh prepare), `state` (requests that build state before them),
    `sequence` (all that was captured), `load` (concurrent, repeated).
    """

    service: str
    requests: list[PlannedRequest]
    stubs: dict[str, dict[str, list[StubAnswer]]] = {}
    stubbed: list[str] = []
    concurrency: int = 1
    repeat: int = 1
    seed: int = 0
    case: Path | None = None
    lift_limits: bool = False
    """The Resource intervention: services run without the limits that their description sets."""
    way: Literal["alone", "state", "sequence", "load"] = "alone"


class Slowness(Frozen):
    """Interleaved runs of good and bad: medians in seconds, their ratio, and the test's p-value.

    `counts` are figures that may explain it, as name -> (good, bad), such as CPU seconds.
    """

    good_s: float
    bad_s: float
    ratio: float
    p_value: float
    runs: int
    threshold_s: float
    counts: dict[str, tuple[float, float]] = {}


class Reproduction(Frozen):
    """What reproducing found. `reason` is empty where it fails on bad every time and never on good.

    `rate` is the share of runs of bad that fail. `predicate` is the one that runs are judged by (a slowness
    gets the threshold that was measured here). `notes` say what was left out and why.
    """

    reproduced: bool
    reason: str = ""
    parts: PlanParts | None = None
    predicate: FailurePredicate | None = None
    expected: list[Expectation] = []
    bad_runs: int = 0
    bad_failures: int = 0
    good_runs: int = 0
    good_failures: int = 0
    rate: float = 0.0
    exception_visible: bool = False
    slowness: Slowness | None = None
    sandbox: str = ""
    runs: int = 0
    seconds: float = 0.0
    notes: list[str] = []
