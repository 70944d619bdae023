"""Where bad healed answers other values than good, a patch must give those."""

import json
from dataclasses import replace
from pathlib import Path

from butfor.evidence.plays import AnswerRecord, Observation
from butfor.evidence.predicates import FailurePredicate
from butfor.evidence.reproductions import Expectation, PlanParts
from butfor.evidence.runs import AnswerSeen, RunOutcome, Tree
from butfor.reproducing import expectations, relearning
from butfor.reproducing.learning import Shown
from butfor.reproducing.plain import answers
from butfor.reproducing.runners import LocalRunner

HEADERS = [("Content-Type", "application/json")]
GOOD = Expectation(id="f", role="failing", status=200, required=["$.cents:int", "$.cents=300", "$:dict"])
TREE = Tree(revision="healed")


def shown(folder: Path, cents: int, *, judgement="good", alike=True) -> Shown:
    body = folder / str(cents)
    body.write_text(json.dumps({"cents": cents}))
    record = AnswerRecord(id="f", role="failing", status=200, headers=HEADERS, body=body)
    said = expectations.said(Observation(folder=folder, spool=folder, started=True, answers=[record]))
    seen = AnswerSeen(id="f", role="failing", status=200, seconds=0.1, as_good=not alike, alike=alike)
    return Shown(RunOutcome(judgement=judgement, answers=[seen]), said, {})


def runner() -> LocalRunner:
    predicate = FailurePredicate(service="s", method="GET", route="/", status=500)
    return LocalRunner([], PlanParts(service="s", requests=[]), predicate, None, frozenset({"s"}), [GOOD])


def fits(one: LocalRunner, cents: int) -> bool:
    body = json.dumps({"cents": cents}).encode()
    return bool(answers.compare(one.expected[0].model_dump(), 200, HEADERS, body)[0])


def relearned(monkeypatch, *runs: Shown) -> LocalRunner:
    left = list(runs)
    monkeypatch.setattr(relearning, "show", lambda *_: left.pop(0))
    return relearning.as_healed(runner(), TREE)


def test_a_patch_must_answer_what_bad_healed_answers(tmp_path, monkeypatch):
    found = relearned(monkeypatch, shown(tmp_path, 450), shown(tmp_path, 450))
    assert fits(found, 450)
    assert not fits(found, 300)
    assert not fits(found, 0)


def test_goods_answer_stays_where_it_is_given_or_where_nothing_else_is_certain(tmp_path, monkeypatch):
    for runs in (
        [shown(tmp_path, 300, alike=False)],
        [shown(tmp_path, 450, judgement="bad")],
        [shown(tmp_path, 450), replace(shown(tmp_path, 451), said={})],
    ):
        assert fits(relearned(monkeypatch, *runs), 300)


def test_a_value_that_is_made_up_anew_is_not_asked_for(tmp_path, monkeypatch):
    found = relearned(monkeypatch, shown(tmp_path, 450), shown(tmp_path, 451))
    assert fits(found, 999)
    assert not answers.compare(found.expected[0].model_dump(), 200, HEADERS, b'{"cents": "x"}')[0]
