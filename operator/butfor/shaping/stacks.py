"""Folded stacks (`outer;inner count`, as flame graphs read them) from samples and from exceptions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from butfor.evidence.predicates import Frame
from butfor.evidence.timelines import RequestSeen

LIMIT = 400
REST = "(other stacks)"
_DEEP = 64


def fold(requests: Iterable[RequestSeen]) -> dict[str, int]:
    """Counts per stack; at most `LIMIT` stacks, those of failed requests first, the others under `REST`."""
    failed: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for request in requests:
        for stack, count in _stacks(request):
            total[stack] += count
            failed[stack] += count * request.failed
    ranked = sorted(total, key=lambda stack: (-failed[stack], -total[stack], stack))
    kept = ranked if len(ranked) <= LIMIT else ranked[: LIMIT - 1]
    rest = sum(total[stack] for stack in ranked[len(kept) :])
    return {stack: total[stack] for stack in sorted(kept)} | ({REST: rest} if rest else {})


def _stacks(request: RequestSeen) -> Iterable[tuple[str, int]]:
    for sample in request.samples:
        if sample.frames:
            yield folded(sample.frames), max(sample.count, 0)
    for seen in request.exceptions:
        if seen.frames:
            leaf = _plain(seen.types[0]) if seen.types else "exception"
            yield f"{folded(seen.frames)};[{leaf}]", 1


def folded(frames: Sequence[Frame]) -> str:
    """One line, outermost first; of very deep stacks the outer end is cut."""
    cut = ["..."] if len(frames) > _DEEP else []
    return ";".join(cut + [f"{_plain(f.function)} ({_plain(f.file)})" for f in frames[-_DEEP:]])


def _plain(text: str) -> str:
    return text.replace(";", ",").replace("\n", " ")[:200]
