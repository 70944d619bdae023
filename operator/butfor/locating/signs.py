"""Signs that only failing requests send, and the code that is concerned with them.

Words tell most of what failing requests are about. Where one differs from healthy ones by a sign alone (`;` between
fields, `%`, a quote), code with a string of nothing but signs that holds it is concerned with it.
"""

from __future__ import annotations

import ast
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from urllib.parse import unquote

from butfor.evidence.timelines import RequestSeen, Timelines
from butfor.locating.clues import Clue
from butfor.locating.edits import Edit
from butfor.locating.statements import Statement
from butfor.locating.syntax import parts_of

SIGN = 0.7
LONGEST = 8
LONGEST_TEXT = 4096
MOST_REQUESTS = 200


def signs(statement: Statement) -> frozenset[str]:
    """The characters of a statement's strings that are made of nothing but signs."""
    found: set[str] = set()
    for node in parts_of(statement.node) if statement.node else ():
        value = node.value if isinstance(node, ast.Constant) else None
        text = value.decode("latin-1") if isinstance(value, bytes) else value
        if isinstance(text, str) and 0 < len(text) <= LONGEST and not any(c.isalnum() for c in text):
            found |= set(text.replace(" ", ""))
    return frozenset(found)


def sent(timelines: Timelines, edits: Iterable[Sequence[Edit]]) -> dict[str, Clue]:
    """Clues by sign; one that many commits of the range (`edits` of each) are concerned with says less."""
    failing, healthy = _picked(timelines, timelines.failing), _picked(timelines, timelines.healthy)
    usual = {c for one in healthy for c in _text(timelines, one)}
    only = sorted({c for one in failing for c in _text(timelines, one) if _sign(c)} - usual) if healthy else []
    if not only:
        return {}
    named = Counter(c for commit in edits for c in _named(commit))
    cited = tuple(one.span for one in failing[:2])
    return {
        c: Clue(c, SIGN / math.sqrt(len(only) * max(1, named[c])), f"only failing requests send {c!r}", cited)
        for c in only
    }


def _named(edits: Sequence[Edit]) -> frozenset[str]:
    return frozenset(c for edit in edits for s in (*edit.fresh, *edit.gone) for c in signs(s))


def _sign(character: str) -> bool:
    return character.isprintable() and not character.isalnum() and not character.isspace()


def _picked(timelines: Timelines, indices: Sequence[int]) -> list[RequestSeen]:
    return [timelines.requests[i] for i in indices[:MOST_REQUESTS] if i < len(timelines.requests)]


def _text(timelines: Timelines, request: RequestSeen) -> Iterator[str]:
    target = request.target[:LONGEST_TEXT]
    yield from target + unquote(target)
    payloads = timelines.telemetry.payloads
    if request.payload is not None and request.payload < len(payloads):
        for _, value in payloads[request.payload].request_headers:
            yield from value[:LONGEST_TEXT]
