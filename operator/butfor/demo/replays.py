"""From steps to commits with whole trees: every change is applied, and one that does not fit is an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from butfor.demo.steps import Change, Step

Tree = dict[str, str]
"""Path to content."""

AUTHORS = {
    "mara": "Mara Lindqvist <mara@shop.example>",
    "tomasz": "Tomasz Wrona <tomasz@shop.example>",
    "aiko": "Aiko Brandt <aiko@shop.example>",
    "sam": "Sam Okafor <sam@provider.example>",
}


@dataclass(frozen=True)
class Made:
    """One commit: its number from 1, its parents', and the tree that it leaves. `planted`: it carries the fault."""

    number: int
    step: Step
    parents: tuple[int, ...]
    tree: Tree
    planted: bool


@dataclass
class _Line:
    """A line of development: its last commit, its tree, and the changes made on it since it left main."""

    head: int = 0
    tree: Tree = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)


def replay(steps: list[Step], files: Callable[[str], str], incident: str) -> Iterator[Made]:
    """The commits of an incident's history, oldest first.

    `files` gives the content of an added file. Raises ValueError for a change that does not fit its file.
    """
    main, branches = _Line(), dict[str, _Line]()
    for number, step in enumerate(steps, 1):
        line = main
        if step.branch:
            line = branches.setdefault(step.branch, _Line(main.head, dict(main.tree)))
        merged = branches[step.merge] if step.merge else None
        changes = [*(merged.changes if merged else []), *step.changes, *step.plants.get(incident, [])]
        for change in changes:
            _apply(line.tree, change, files, step.message)
        parents = tuple(head for head in (line.head, merged.head if merged else 0) if head)
        line.head = number
        line.changes += changes
        yield Made(number, step, parents, dict(line.tree), incident in step.plants)


def _apply(tree: Tree, change: Change, files: Callable[[str], str], message: str) -> None:
    if change.kind == "add":
        tree[change.path] = files(change.path)
    elif change.kind == "create":
        tree[change.path] = change.text()
    elif change.kind == "rename":
        tree[change.target] = tree.pop(change.path)
    else:
        tree[change.path] = _edited(tree[change.path], change, message)


def _edited(content: str, change: Change, message: str) -> str:
    for hunk in change.hunks():
        found = f"\n{content}".count(f"\n{hunk.old}")
        if found != 1:
            subject = message.splitlines()[0]
            raise ValueError(f"{subject}: {change.path}: these lines were found {found} times:\n{hunk.old}")
        content = f"\n{content}".replace(f"\n{hunk.old}", f"\n{hunk.new}", 1)[1:]
    return content
