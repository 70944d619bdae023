"""The kernel's part of a failure, had again: a reproduction that fails in the same way fails so in the kernel too."""

from __future__ import annotations

from butfor.evidence.runs import Tree
from butfor.reproducing import LocalRunner, signatures


def with_signature(runner: LocalRunner, good: str, bad: str) -> tuple[LocalRunner, str]:
    """A runner that demands of each failing run what the kernel saw in the capture, and what there is to say of it.

    Demanded is what a run of bad shows again and a run of good does not; what a stub or the sandbox makes otherwise
    cannot be. One run of each; none where the kernel is not watched or saw nothing of the failure.
    """
    wanted = runner.predicate.kernel
    if runner.predicate.by_kernel:
        return runner, f"the kernel sees it again: {signatures.words(wanted)}"
    if not wanted or runner.workshop.bench.kernel is None:
        return runner, ""
    at_bad = runner.seen(Tree(revision=bad, label="bad"))
    if at_bad is None:
        return runner, "what the kernel saw of the failure was not compared: the run of bad was not watched"
    shown = [one for one in wanted if one in at_bad]
    if not shown:
        return runner, f"the reproduction does not show in the kernel: {signatures.words(wanted)}"
    at_good = runner.seen(Tree(revision=good, label="good")) or []
    telling = [one for one in shown if one not in at_good]
    said = f"the kernel sees it again: {signatures.words(shown)}" + ("" if telling else "; at good too")
    return (runner.variant(signature=telling) if telling else runner), said
