"""From what a failing request was told, or had logged, to the code that says so: for failures without a stack.

Texts are log records and answer bodies of failing requests. A statement of bad that holds a piece of such a text as a
string, which no healthy request's texts hold, says it; statements that raise or return the failing status answer it.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from butfor.evidence.predicates import Frame
from butfor.evidence.timelines import RequestSeen, Timelines
from butfor.locating.lexicons import fold, status_words
from butfor.locating.places import CLOSENESS, Place, Scene
from butfor.locating.statements import Statement
from butfor.locating.syntax import parts_of
from butfor.locating.trees import Tree

SAYS, ANSWERS = 0.9, 0.5
TELLING_LENGTH = 24
"""A piece of this many characters is as telling as any; shorter ones are less, in proportion."""
LEAST_LENGTH = 8
MOST_SAYING = 8
MOST_TEXTS = 50
LONGEST_TEXT = 16_384
_NOWHERE = Frame(file="", line=0, function="")
_GAPS = re.compile(r"%[-#0 +]*[\d.*]*[a-zA-Z]|\{[^{}]*\}|<[^<>]*>")


@dataclass(frozen=True)
class Told:
    """A text of a request and what cites it."""

    text: str
    cited: str


def spoken(timelines: Timelines, scene: Scene, tree: Tree) -> list[Place]:
    """Places that say what only failing requests got to read, or that give their status; none where a stack tells."""
    if scene.stacks or not timelines.failing:
        return []
    failing, healthy = _parted(timelines)
    wanted, usual = list(_texts(timelines, failing)), " ".join(t.text for t in _texts(timelines, healthy))
    statuses = {r.status for r in failing} - {r.status for r in _comparable(failing, healthy)}
    said: list[_Said] = []
    answers: list[Place] = []
    for (path, name), region in tree.regions():
        for statement in region.statements:
            frame = Frame(file=path, line=statement.line, function=name)
            if (heard := _heard(statement, wanted, usual)) is not None:
                said.append(replace(heard, frame=frame))
            elif any(_answers(statement, status) for status in statuses):
                answers.append(Place(frame, ANSWERS, 1, "message", tuple(r.span for r in failing[:2])))
    return [*_saying(said), *_shared(answers)]


@dataclass(frozen=True)
class _Said:
    """A piece of a text, how telling it is, where in the text it ends, and who says it."""

    telling: float
    end: int
    told: Told
    frame: Frame = _NOWHERE


def _saying(said: list[_Said]) -> list[Place]:
    """Messages are wrapped from the left, so the piece that ends last is the innermost cause."""
    places: list[Place] = []
    for told in dict.fromkeys(one.told for one in said):
        own = [one for one in said if one.told == told]
        ends = sorted({one.end for one in own}, reverse=True)
        for one in own:
            same, depth = sum(o.end == one.end for o in own), ends.index(one.end)
            weight = SAYS * one.telling * CLOSENESS**depth / math.sqrt(same)
            if same <= MOST_SAYING:
                places.append(Place(one.frame, weight, depth, "message", (told.cited,)))
    return sorted(places, key=lambda p: -p.weight)[:MOST_SAYING]


def _parted(timelines: Timelines) -> tuple[list[RequestSeen], list[RequestSeen]]:
    requests = timelines.requests
    failing = [requests[i] for i in (*timelines.failing, *timelines.rivals) if i < len(requests)]
    healthy = [requests[i] for i in timelines.healthy if i < len(requests)]
    return failing[:MOST_TEXTS], healthy[: 4 * MOST_TEXTS]


def _comparable(failing: list[RequestSeen], healthy: list[RequestSeen]) -> list[RequestSeen]:
    routes = {r.route for r in failing}
    return [r for r in healthy if r.route in routes] or healthy


def _shared(places: list[Place]) -> list[Place]:
    """Many places that say the same point at each of them less."""
    if len(places) > MOST_SAYING:
        return []
    return [replace(place, weight=place.weight / math.sqrt(len(places))) for place in places]


def _texts(timelines: Timelines, requests: Iterable[RequestSeen]) -> Iterator[Told]:
    asked = list(requests)
    logs = timelines.telemetry.logs
    traces = pa.array(sorted({r.span.partition("/")[0] for r in asked}), pa.string())
    rows = pc.indices_nonzero(pc.is_in(logs["trace_id"], traces)).to_pylist()[: 4 * MOST_TEXTS]
    for row in rows:
        yield Told(str(logs["body"][row].as_py() or "")[:LONGEST_TEXT], f"log:{row}")
    for request in asked:
        if request.payload is not None and request.payload < len(timelines.telemetry.payloads):
            body = timelines.telemetry.payloads[request.payload].answer_body
            yield Told(_read(timelines.telemetry.bundle.path, body), f"payload:{request.payload}")


def _read(bundle: Path, body: str | None) -> str:
    if body is None or not body.isalnum():
        return ""
    try:
        with (bundle / "payloads" / body).open("rb") as file:
            return file.read(LONGEST_TEXT).decode("utf-8", "replace")
    except OSError:
        return ""


def _heard(statement: Statement, wanted: list[Told], usual: str) -> _Said | None:
    """The longest piece of a failing text that a statement holds."""
    best: _Said | None = None
    for piece in _pieces(statement):
        telling = min(1.0, len(piece) / TELLING_LENGTH)
        if (best is None or telling > best.telling) and piece not in usual:
            found = next((told for told in wanted if piece in told.text), None)
            best = _Said(telling, found.text.rindex(piece) + len(piece), found) if found else best
    return best


def _pieces(statement: Statement) -> Iterator[str]:
    for child in parts_of(statement.node) if statement.node else ():
        if isinstance(child, ast.Constant) and isinstance(child.value, str):
            for piece in _GAPS.split(child.value[:LONGEST_TEXT]):
                text = piece.strip(" \t\r\n'\":;,.")
                if len(text) >= LEAST_LENGTH and (" " in text or len(text) >= TELLING_LENGTH):
                    yield text


def _answers(statement: Statement, status: int | None) -> bool:
    """Whether a statement raises, returns or sends a status, by number or by its phrase in a name."""
    if status is None or status < 400 or not isinstance(statement.node, ast.Raise | ast.Return | ast.Expr | ast.Assign):
        return False
    phrases = status_words(status)[1:]
    if any(fold(token).endswith(phrase) for token in statement.tokens for phrase in phrases):
        return True
    parts = parts_of(statement.node)
    return any(isinstance(part, ast.Constant) and part.value == status and part.value is not True for part in parts)
