"""Learning what good answers, and how much of it legitimately drifts between revisions.

From runs of good and one of bad:

- *Stable* is what the runs of good have in common (tokens of `plain.answers`, and headers). One of them leaves the
  healthy requests out, as bisection does: what hangs on them is not asked of the failing ones.
- A **healthy** request must answer what its good runs *and* the bad run have in common: versions, markup
  and fields that changed between good and bad are left out by themselves.
- A **failing** request has no healthy answer at bad to compare with. Its drift is learned from the healthy
  requests of the same kind (JSON, HTML, text): tokens that vanished from them are not demanded, JSON fields
  that changed or went there are not demanded by path, and the largest share that any of them lost is what it
  may lose too. The share is taken twice: over all tokens (layout), and over the page's *own* tokens, which no
  other answer has. So a page with another footer passes, and a page that lost its content does not.
- Without a healthy request of the same kind nothing may be lost.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from butfor.evidence.plays import AnswerRecord, Observation, PlannedRequest
from butfor.evidence.reproductions import Expectation
from butfor.evidence.requests import Payload
from butfor.evidence.telemetry import Telemetry
from butfor.evidence.timelines import RequestSeen, Timelines
from butfor.reproducing.plain import answers
from butfor.reproducing.selections import payload_of

LARGEST_TOLERANCE = 0.5
"""However much drifts elsewhere, an answer that lost half of what it said is not good's."""
ALIKE = 8
VOLATILE = frozenset({
    "age", "cf-ray", "connection", "content-length", "date", "etag", "expires", "keep-alive", "last-modified", "server",
    "server-timing", "transfer-encoding", "via", "x-process-time", "x-request-id", "x-runtime", "x-trace-id",
    "traceparent", "tracestate",
})  # fmt: skip
"""Headers that differ between any two answers, or follow from the body."""


@dataclass(frozen=True)
class Said:
    """What one answer says: its kind, tokens, compared headers and hash."""

    status: int | str
    kind: str
    tokens: frozenset[str]
    headers: dict[str, str]
    sha256: str
    role: str
    names: frozenset[str] = frozenset()
    """Names of all headers, those whose values are not compared included."""


@dataclass(frozen=True)
class Drift:
    """What healthy answers of one kind lose from good to bad."""

    tokens: frozenset[str]
    headers: frozenset[str]
    tolerance: float
    own_tolerance: float
    others: frozenset[str]


def learn(good: Sequence[dict[str, Said]], bad: dict[str, Said] | None) -> list[Expectation]:
    """Return one expectation per request that good answered alike in every run; each run as `said` gives it.

    A healthy request whose status differs between good and bad is left out: it is not healthy at both.
    """
    after = bad or {}
    stable = {name: common(runs) for name in good[0] if (runs := _every(name, good))}
    healthy = {n: s for n, s in stable.items() if s and s.role == "healthy" and _alike(s, after.get(n))}
    result = [_healthy(name, one, after.get(name)) for name, one in healthy.items() if one]
    for name, one in stable.items():
        if one is not None and one.role == "failing":
            drift = learn_drift(one.kind, {n: s for n, s in healthy.items() if s}, after)
            result.append(demanded(name, one, drift))
    return result


def _every(name: str, good: Sequence[dict[str, Said]]) -> list[Said]:
    """Return a request's answers; none where a run that sent such requests has none."""
    role = good[0][name].role
    asked = [run for run in good if any(one.role == role for one in run.values())]
    return [run[name] for run in asked] if all(name in run for run in asked) else []


def from_capture(requests: Sequence[PlannedRequest], timelines: Timelines, telemetry: Telemetry) -> list[Expectation]:
    """Return what the failing requests would be answered in health, from the capture's healthy requests.

    For a failure that good shows too, so that good cannot be asked. It is what the healthy requests of the same
    route have in common; a route without any healthy request gets no expectation.
    """
    result = []
    for request in requests:
        if request.role == "failing" and request.id[1:].isdigit():
            seen = timelines.requests[int(request.id[1:])]
            runs = _healthy_alike(seen, timelines, telemetry)
            shared = common(runs) if runs else None
            if shared is not None:
                result.append(exactly(request.id, shared))
    return result


def _healthy_alike(seen: RequestSeen, timelines: Timelines, telemetry: Telemetry) -> list[Said]:
    """Return what up to ALIKE healthy requests of the same route were answered, those of the usual status."""
    same = [
        one
        for one in (timelines.requests[index] for index in timelines.healthy)
        if (one.service, one.method, one.route) == (seen.service, seen.method, seen.route)
    ]
    usual = Counter(one.status for one in same).most_common(1)
    chosen = [one for one in same if usual and one.status == usual[0][0]]
    payloads = [payload for one in chosen[:ALIKE] if (payload := payload_of(telemetry, one)) is not None]
    return [_of_payload(payload, telemetry) for payload in payloads if payload.status is not None]


def _of_payload(payload: Payload, telemetry: Telemetry) -> Said:
    path = telemetry.bundle.path / "payloads" / (payload.answer_body or "")
    answer = AnswerRecord(
        id="", role="failing", status=payload.status, headers=payload.answer_headers, complete=payload.complete,
        body=path if payload.answer_body and re.fullmatch(r"[0-9a-f]{64}", payload.answer_body) else None,
    )  # fmt: skip
    return _said(answer)


def said(observation: Observation) -> dict[str, Said]:
    """Return what was answered per request id, requests of `before` left out.

    Of a request that was sent several times it is what all its answers have in common, or, where not even the
    status was the same, the first answer that is not a success.
    """
    answered: dict[str, list[Said]] = {}
    for answer in observation.answers:
        if answer.role != "before":
            answered.setdefault(answer.id, []).append(_said(answer))
    return {name: common(every) or _worst(every) for name, every in answered.items()}


def _worst(every: Sequence[Said]) -> Said:
    return next((one for one in every if not isinstance(one.status, int) or one.status >= 400), every[0])


def learn_drift(kind: str, healthy: dict[str, Said], after: dict[str, Said]) -> Drift:
    """Return the drift of the healthy answers of `kind` from good (`healthy`) to bad (`after`)."""
    pairs = {name: (one, after[name]) for name, one in healthy.items() if name in after and one.kind == kind}
    lost = {name: before.tokens - now.tokens for name, (before, now) in pairs.items()}
    shares, own_shares = [0.0], [0.0]
    for name, (before, _) in pairs.items():
        others = _union(one.tokens for other, (one, _) in pairs.items() if other != name)
        own = before.tokens - others
        shares.append(len(lost[name]) / max(1, len(before.tokens)))
        own_shares.append(len(lost[name] & own) / max(1, len(own)))
    changed = [_changed_headers(before, now) for before, now in pairs.values()]
    return Drift(
        _union(lost.values()), frozenset(name for names in changed for name in names),
        min(LARGEST_TOLERANCE, max(shares)), min(LARGEST_TOLERANCE, max(own_shares)),
        _union(before.tokens for before, _ in pairs.values()),
    )  # fmt: skip


def _said(answer: AnswerRecord) -> Said:
    body = b""
    if answer.body is not None and answer.body.is_file():
        with answer.body.open("rb") as file:
            body = file.read(answers.BODY_LIMIT)
    names = {name.lower() for name, _ in answer.headers} - VOLATILE
    whole = answer.complete and answer.ended is None and answer.status is not None
    status: int | str = answer.status if whole and answer.status is not None else (answer.ended or "truncated")
    return Said(
        status, answers.kind(answers.decoded(body, answer.headers), answer.headers),
        answers.tokens(body, answer.headers),
        {name: answers.header_value(answer.headers, name) for name in names}, answers.digest(body), answer.role,
        frozenset(name.lower() for name, _ in answer.headers),
    )  # fmt: skip


def common(runs: Sequence[Said]) -> Said | None:
    """Return what the runs have in common; None where even the status differs."""
    first = runs[0]
    if any(run.status != first.status for run in runs):
        return None
    tokens = frozenset.intersection(*(run.tokens for run in runs))
    headers = {n: v for n, v in first.headers.items() if all(run.headers.get(n) == v for run in runs)}
    same = all(run.sha256 == first.sha256 for run in runs)
    names = frozenset.intersection(*(run.names for run in runs))
    return Said(first.status, first.kind, tokens, headers, first.sha256 if same else "", first.role, names)


def _alike(good: Said, bad: Said | None) -> bool:
    return bad is None or bad.status == good.status


def _healthy(name: str, good: Said, bad: Said | None) -> Expectation:
    both = good if bad is None else common([good, bad]) or good
    return Expectation(
        id=name, role="healthy", status=good.status, headers=both.headers, sha256=good.sha256 or None,
        required=sorted(both.tokens),
    )  # fmt: skip


def demanded(name: str, good: Said, drift: Drift) -> Expectation:
    """Return what a failing request must be answered to be good: what good says less what drifts elsewhere."""
    required = frozenset(token for token in good.tokens if not _drifted(token, drift.tokens))
    headers = {n: v for n, v in good.headers.items() if n not in drift.headers}
    return Expectation(
        id=name, role="failing", status=good.status, headers=headers, sha256=good.sha256 or None,
        required=sorted(required), own=sorted(required - drift.others),
        tolerance=drift.tolerance, own_tolerance=drift.own_tolerance,
    )  # fmt: skip


def exactly(name: str, good: Said) -> Expectation:
    """Return what a failing request must be answered where nothing may drift."""
    return demanded(name, good, Drift(frozenset(), frozenset(), 0.0, 0.0, frozenset()))


def _drifted(token: str, lost: frozenset[str]) -> bool:
    """Tell whether a token, or the JSON field that it is the value of, vanished elsewhere."""
    if token in lost:
        return True
    return token.startswith("$") and any(token.startswith(path) for path in _paths(lost))


def _paths(lost: frozenset[str]) -> Iterable[str]:
    """Return `$.a=` where a value changed and `$.a` with what follows where the field itself went."""
    for token in lost:
        if token.startswith("$") and "=" in token:
            yield token.split("=", 1)[0] + "="
        elif token.startswith("$") and ":" in token:
            yield token.rsplit(":", 1)[0] + ":"


def _changed_headers(good: Said, bad: Said) -> list[str]:
    return [name for name, value in good.headers.items() if bad.headers.get(name) != value]


def _union(sets: Iterable[frozenset[str]]) -> frozenset[str]:
    result: set[str] = set()
    for one in sets:
        result |= one
    return frozenset(result)
