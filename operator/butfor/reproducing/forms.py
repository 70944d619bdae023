"""A failure that has another form at other revisions: answered otherwise than by good, though not as it was captured.

A change may first lose a part of an answer, and a later one turn the loss into an error. Where the captured form
alone cannot judge the revisions between, the form that they show is added to the predicate, as narrowly as it can be
told: the words that are gone, a header, or another status that is no server error.
"""

from __future__ import annotations

from pathlib import Path

from butfor.errors import InconclusiveError
from butfor.evidence.predicates import FailurePredicate
from butfor.evidence.reproductions import Expectation
from butfor.evidence.runs import Tree
from butfor.reproducing import expectations
from butfor.reproducing.contrasts import differing
from butfor.reproducing.expectations import Said
from butfor.reproducing.runners import LocalRunner

SERVER_ERROR = 500


def with_form_at(runner: LocalRunner, tree: Tree) -> LocalRunner | None:
    """Return a runner whose predicate also knows how `tree` fails, or None where that cannot be told narrowly.

    What is answered where a stub had nothing to say tells nothing of the tree.
    """
    with runner.folder() as name:
        try:
            _, observation = runner.observe(tree, Path(name), healthy=False)
        except InconclusiveError:
            return None
        if not observation.started or any(observation.stub_misses.values()):
            return None
        said = expectations.said(observation)
    asked = [one for one in runner.expected if one.role == "failing" and one.id in said]
    forms = [form for one in asked if (form := _form(runner.predicate, one, said[one.id])) is not None]
    if not forms:
        return None
    also = [*runner.predicate.also, *(one for n, one in enumerate(forms) if one not in forms[:n])]
    return runner.variant(predicate=runner.predicate.model_copy(update={"also": also}))


def _form(predicate: FailurePredicate, asked: Expectation, said: Said) -> FailurePredicate | None:
    """Return what tells this answer from good's; None for good's own, a broken answer and a server error."""
    if not isinstance(said.status, int) or said.status >= SERVER_ERROR:
        return None
    found = differing(said, asked)
    if found is None:
        return None
    return FailurePredicate(
        service=predicate.service, method=predicate.method, route=predicate.route, status=said.status,
        answer=found.answer,
    )  # fmt: skip
