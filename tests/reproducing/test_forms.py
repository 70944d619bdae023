"""Another form of a failure is added as narrowly as it can be told, or not at all."""

import json
from types import SimpleNamespace

import pytest

from butfor.errors import InconclusiveError
from butfor.evidence.predicates import FailurePredicate
from butfor.evidence.reproductions import Expectation, PlanParts
from butfor.evidence.runs import Tree
from butfor.ports.benches import Bench
from butfor.reproducing import LocalRunner, Workshop, expectations, with_form_at
from butfor.reproducing.expectations import Said

PREDICATE = FailurePredicate(service="s", method="POST", route="/upload", status=400)
EXPECTED = [
    Expectation(id="f", role="failing", status=200, required=["name", "café"], headers={"cache-control": "private"}),
    Expectation(id="h", role="healthy", status=200, required=["welcome"]),
]


def says(words, *, status=200, headers=None, role="failing"):
    kept = {"cache-control": "private"} if headers is None else headers
    return Said(status, "text", frozenset(words.split()), kept, "", role)


class Observing(LocalRunner):
    """Sees what it is told instead of executing anything; None is a setup that fails."""

    seen = None
    started = True
    misses = {}

    def observe(self, tree, folder, *, healthy=True):
        assert folder.is_dir()
        assert (tree.revision, healthy) == ("between", False)
        if self.seen is None:
            raise InconclusiveError("no environment")
        return None, SimpleNamespace(stub_misses=self.misses, started=self.started, said=self.seen)


@pytest.fixture
def formed(tmp_path, monkeypatch):
    monkeypatch.setattr(expectations, "said", lambda observation: observation.said)
    workshop = Workshop(Bench.of_this_machine(), {}, tmp_path)

    def at(seen, *, started=True, predicate=PREDICATE):
        runner = Observing(
            [], PlanParts(service="s", requests=[], way="alone"), predicate, workshop, frozenset({"s"}), EXPECTED
        )
        runner.seen, runner.started = seen, started
        found = with_form_at(runner, Tree(revision="between"))
        return None if found is None else found.predicate

    return at


def test_words_that_are_gone_become_a_form_and_the_captured_one_stays(formed):
    found = formed({"f": says("name"), "h": says("welcome", role="healthy")})
    (form,) = found.also
    assert (found.status, form.status, form.route, form.also) == (400, 200, "/upload", [])
    assert (form.answer.kind, json.loads(form.answer.value)) == ("tokens_lost", ["café"])


def test_another_status_and_a_header_are_forms(formed):
    (status,) = formed({"f": says("name café", status=404)}).also
    assert (status.status, status.answer) == (404, None)
    (header,) = formed({"f": says("name café", headers={"cache-control": "public"})}).also
    assert (header.answer.kind, header.answer.value) == ("header_is", "cache-control: public")


def test_what_a_stub_could_not_answer_is_no_form(formed, monkeypatch):
    monkeypatch.setattr(Observing, "misses", {"till": ["POST /charge"]})
    assert formed({"f": says("name")}) is None


def test_a_form_that_is_known_already_stays(formed):
    known = PREDICATE.model_copy(update={"also": [PREDICATE.model_copy(update={"status": 404})]})
    found = formed({"f": says("name café", headers={"cache-control": "public"})}, predicate=known)
    assert [form.status for form in found.also] == [404, 200]


@pytest.mark.parametrize("seen", [
    {"f": says("name café")},
    {"f": says("", status=500)},
    {"f": says("", status="timeout")},
    {"h": says("nothing", role="healthy")},
    {},
    None,
])  # fmt: skip
def test_goods_answer_a_server_error_and_no_answer_are_no_form(formed, seen):
    assert formed(seen) is None


def test_a_tree_that_does_not_start_shows_no_form(formed):
    assert formed({"f": says("name")}, started=False) is None
