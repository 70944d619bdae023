"""The failure predicate: what "it failed in this way" means (design.md, *Failure predicate*)."""

from __future__ import annotations

from typing import Literal

from butfor.evidence._base import Frozen

Judgement = Literal["good", "bad", "unknown"]
"""`unknown` is design.md's *cannot tell*; git bisect's 125."""


class Frame(Frozen):
    """A place in code. `file` is relative to the repository's root where `in_repository`, else as loaded."""

    file: str
    line: int
    function: str
    in_repository: bool = True


class AnswerProperty(Frozen):
    """A property of the answer that holds in failing and not in healthy answers of the same route.

    `tokens_lost`: `value` is a JSON list of tokens (`reproducing.plain.answers`), all of which the answer lacks.
    `header_is`: `value` is `name: what the header is`, nothing after the colon where the answer lacks it.
    """

    kind: Literal[
        "body_truncated", "body_contains", "body_lacks", "header_missing", "body_differs", "tokens_lost", "header_is"
    ]
    value: str = ""


class KernelFailure(Frozen):
    """A kernel failure tuple, e.g. (`connect`, `ECONNREFUSED`, `inet`)."""

    kind: str
    errno: str
    target_type: str


class FailurePredicate(Frozen):
    """Conditions that are all needed; None or empty means *not part of this failure*.

    `status`: the status the client saw. `ended`: the request got no complete answer. `exception_types`: class
    names as the traceback prints them (module-qualified when known), innermost first; a chained cause counts.
    `message_template`: the innermost exception's message with variable parts replaced by `<*>`.
    `frame`: the innermost frame in the repository. `slower_than_s`: failing means slower than this;
    `timeout_s`: the client's own limit, replayed as it was.
    """

    service: str
    method: str
    route: str
    status: int | None = None
    ended: Literal["timeout", "closed", "truncated"] | None = None
    exception_types: list[str] = []
    message_template: str | None = None
    frame: Frame | None = None
    answer: AnswerProperty | None = None
    slower_than_s: float | None = None
    timeout_s: float | None = None
    kernel: list[KernelFailure] = []
    by_kernel: bool = False
    """The failure is what `kernel` names, all of it in the request's own spans, whatever the request was answered."""
    evidence: list[str] = []
    also: list[FailurePredicate] = []
    """Other forms of the same failure, seen at revisions between good and bad; any one of them is bad too."""
