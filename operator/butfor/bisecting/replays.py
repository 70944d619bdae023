"""What plain git makes of the same verdicts: a log that `git bisect replay` accepts, and how many runs it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from butfor.bisecting.lineages import Lineage, members
from butfor.evidence.predicates import Judgement

WORDS: Mapping[Judgement, str] = {"good": "good", "bad": "bad", "unknown": "skip"}


def log(
    good: str,
    bad: str,
    verdicts: Iterable[tuple[str, Judgement]],
    *,
    subjects: Mapping[str, str],
    culprit: str | None,
    fits: Callable[[str], bool] = lambda _: True,
) -> str:
    """The text of a `git bisect log`: end points first, then each settled revision in the order it was settled.

    git knows one transition only; a verdict that does not fit it is kept as a comment, so that the log replays.
    """
    lines = ["git bisect start", *_entry(bad, "bad", subjects), *_entry(good, "good", subjects)]
    for sha, judgement in verdicts:
        comment, command = _entry(sha, WORDS[judgement], subjects)
        lines += [comment, command if fits(sha) else "# the verdict above does not fit: set aside"]
    if culprit:
        lines.append(f"# first bad commit: [{culprit}] {_line(subjects.get(culprit, ''))}".rstrip())
    return "\n".join(lines) + "\n"


def _entry(sha: str, verdict: str, subjects: Mapping[str, str]) -> list[str]:
    return [f"# {verdict}: [{sha}] {_line(subjects.get(sha, ''))}".rstrip(), f"git bisect {verdict} {sha}"]


def _line(text: str) -> str:
    return " ".join(text.split())


def git_bisect_runs(lineage: Lineage, culprit: str, unknown: Iterable[str] = (), repeats: int = 1) -> int:
    """Runs that `git bisect run` needs on this graph when revisions fail exactly from `culprit` on.

    `unknown` revisions cost a run and are skipped; a good verdict costs `repeats` runs, as it did here.
    git's own weighting is followed (nearest to half of the candidates); it orders equals by date, so a count may be
    off by one.
    """
    first = lineage.index[culprit]
    skipped = {lineage.index[sha] for sha in unknown if sha in lineage.index}
    tried: set[int] = set()
    left = lineage.remaining([len(lineage) - 1], [])
    runs = 0
    while left.bit_count() > 1:
        chosen = _halfway(lineage, left, tried)
        if chosen is None:
            break
        bad = bool(lineage.ancestors[chosen] >> first & 1)
        runs += 1 if bad or chosen in skipped else repeats
        if chosen in skipped:
            tried.add(chosen)
        else:
            left &= lineage.ancestors[chosen] if bad else ~lineage.ancestors[chosen]
    return runs


def _halfway(lineage: Lineage, left: int, tried: set[int]) -> int | None:
    """Git's choice; None: only the newest one, known bad, is left to try.

    The first revision found within one of half (merges are weighed first, starts of strands are not asked),
    else the one nearest to half.
    """
    total = left.bit_count()
    newest = left.bit_length() - 1
    weights = {i: (lineage.ancestors[i] & left).bit_count() for i in members(left)}
    inside = {i: sum(lineage.index.get(p, -1) in weights for p in lineage.parents[i]) for i in weights}
    merges = [i for i in weights if inside[i] > 1]
    for i in [*merges, *(i for i in weights if inside[i] == 1)]:
        if abs(2 * weights[i] - total) <= max(1, total // 1024) and i not in tried and i != newest:
            return i
    open_ = [i for i in weights if i not in tried and i != newest]
    return max(open_, key=lambda i: min(weights[i], total - weights[i]), default=None)
