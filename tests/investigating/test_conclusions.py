"""What the findings allow to be said of a culprit that is not alone."""

from pathlib import Path
from types import SimpleNamespace

from butfor.bisecting import BisectionResult
from butfor.evidence.suspects import FunctionRef, Ranking, Suspect
from butfor.evidence.verdicts import Bisection
from butfor.investigating import conclusions
from butfor.investigating.conclusions import _functions, _suspects, conclude
from butfor.investigating.progress import Clock, Silent
from butfor.investigating.questions import Findings, Question

CULPRIT, TWIN, OTHER = "c" * 40, "b" * 40, "a" * 40


def findings(twins):
    found = BisectionResult(Bisection(first_bad=CULPRIT), CULPRIT, {})
    return Findings(bisected=found, twins=twins)


def test_a_twin_is_named_in_the_reason_and_only_where_there_is_one(tmp_path):
    question = Question(Path("bundle"), tmp_path)
    alone = conclude(question, findings([]), Clock(Silent()))
    with_twin = conclude(question, findings([TWIN]), Clock(Silent()))
    assert with_twin.outcome == "CodeChange"
    assert TWIN[:12] in with_twin.reason
    assert with_twin.reason.startswith(alone.reason)
    assert "same change" not in alone.reason


def test_the_culprit_comes_first_then_its_twins_then_the_others_as_ranked():
    ranked = [Suspect(commit=sha, score=1.0) for sha in (OTHER, TWIN, CULPRIT)]
    found = findings([TWIN])
    found.analysis = SimpleNamespace(ranking=Ranking(suspects=ranked))
    assert [one.commit for one in _suspects(found)] == [CULPRIT, TWIN, OTHER]
    found.twins = []
    assert [one.commit for one in _suspects(found)] == [CULPRIT, OTHER, TWIN]


def function(name, file):
    return FunctionRef(name=name, file=file, line=1)


def named(monkeypatch, ranked, healed, origin="hunks"):
    """Names of the verdict's functions: of the culprit as ranked, and of a patch that heals."""
    monkeypatch.setattr(conclusions, "patched", lambda *_: healed)
    found = findings([])
    found.candidate = SimpleNamespace(origin=origin, diff=b"")
    found.history = SimpleNamespace(repository=None, bad=OTHER)
    return [one.name for one in _functions(found, [Suspect(commit=CULPRIT, score=1.0, functions=ranked)])]


def test_one_of_several_ways_to_heal_says_nothing_against_the_culprits_other_functions(monkeypatch):
    setting, user = function("shop.settings.load", "shop/settings.py"), function("shop.app.start", "shop/app.py")
    assert named(monkeypatch, [setting, user], [user]) == ["shop.settings.load", "shop.app.start"]
    assert named(monkeypatch, [setting], [user]) == ["shop.settings.load", "shop.app.start"]


def test_what_heals_in_another_language_comes_first(monkeypatch):
    ranked, native = function("shop.orders.answer", "shop/orders.py"), function("pack", "shop/codec.c")
    assert named(monkeypatch, [ranked], [native]) == ["pack", "shop.orders.answer"]
    assert named(monkeypatch, [ranked], [native], origin="revert") == ["shop.orders.answer"]
    assert named(monkeypatch, [], [native]) == ["pack"]
    assert named(monkeypatch, [ranked], [native, ranked]) == ["shop.orders.answer", "pack"]
