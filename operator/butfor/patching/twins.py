"""Commits that make the same change as a culprit: a backport on a branch that was merged, a commit applied twice."""

from __future__ import annotations

from collections.abc import Collection

from butfor.patching.sources import is_source
from butfor.ports.diffs import FileChange
from butfor.ports.repositories import Repository

Signature = frozenset[tuple[str, tuple[str, ...], tuple[str, ...]]]
"""Per hunk its file, and the lines removed and added, blanks left out (what `git patch-id` looks at)."""


def twins(repository: Repository, culprit: str, good: str, bad: str, healing: Collection[str] = ()) -> list[str]:
    """Other commits of good..bad that make all of the culprit's change, nearest to bad first; no merges.

    `healing`: files of a patch that heals; where the culprit changed some of them, its change there is what counts.
    """
    every = repository.range_changes(f"{good}..{bad}")
    own = every.get(culprit) or repository.changes(culprit)
    wanted = _signature(own, healing) or _signature(own)
    if not wanted:
        return []
    merges = {one.sha for one in repository.commits(good, bad) if len(one.parents) > 1}
    return [sha for sha, changes in every.items() if sha not in merges | {culprit} and wanted <= _signature(changes)]


def _signature(changes: list[FileChange], among: Collection[str] = ()) -> Signature:
    return frozenset(
        (change.name, _told(hunk.removed), _told(hunk.added))
        for change in changes
        if is_source(change.name) and (not among or change.name in among)
        for hunk in change.hunks
        if _told(hunk.removed) or _told(hunk.added)
    )


def _told(lines: list[str]) -> tuple[str, ...]:
    return tuple(kept for kept in ("".join(line.split()) for line in lines) if kept)
