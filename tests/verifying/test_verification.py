"""A patch is verified only when every check passed; each check fails for its own reason."""

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bisecting.histories import FakeRunner, History, read
from butfor.evidence.runs import AnswerSeen, RunOutcome, SuiteOutcome, Tree
from butfor.verifying import NewTest, Verifier, plain_test, verify
from butfor.verifying.comparisons import Limits, Sides, broken_tests, cpu, latency
from butfor.verifying.errors_seen import errors_seen

GOOD, BAD = "def handle():\n    return 200\n", "def handle():\n    return 500\n"


def span(name, *, error=False, exception=None):
    events = [{"name": "exception", "attributes": [attribute("exception.type", exception)]}] if exception else []
    return {"name": name, "status": {"code": 2 if error else 0}, "events": events}


def attribute(key, value):
    return {"key": key, "value": {"stringValue": value}}


def write_spans(folder, spans):
    folder.mkdir(parents=True)
    document = {
        "resourceSpans": [
            {"resource": {"attributes": [attribute("service.name", "shop")]}, "scopeSpans": [{"spans": spans}]}
        ]
    }
    (folder / "spans.otlp.jsonl").write_text(json.dumps(document) + "\n{broken\n[]\n")
    return folder


@dataclass
class Bench(FakeRunner):
    """Runs `app.py`; answers, telemetry, time and tests are what the tree's `facts.json` overrides."""

    facts: dict = field(default_factory=dict)
    suites: dict = field(default_factory=dict)
    scripts: list = field(default_factory=list)

    def side(self, tree):
        return (
            "patched" if tree.overlay else "good" if b"200" in self.repository.show(tree.revision, "app.py") else "bad"
        )

    def run(self, tree, *, healthy=True, keep_telemetry=None):
        outcome = super().run(tree, healthy=healthy)
        bad = outcome.judgement == "bad"
        facts = {"seconds": 0.01, "cpu": 0.2, "as_good": True, "spans": []} | self.facts.get(self.side(tree), {})
        spans = [span("GET /", error=bad, exception="KeyError" if bad else None), *facts["spans"]]
        answers = [AnswerSeen(id="f", role="failing", status=500 if bad else 200, seconds=0.01, as_good=not bad)]
        if healthy:
            answers.append(
                AnswerSeen(id="h", role="healthy", status=200, seconds=facts["seconds"], as_good=facts["as_good"])
            )
        telemetry = write_spans(keep_telemetry, spans) if keep_telemetry else None
        judgement = self.facts.get(self.side(tree), {}).get("judgements", {}).get(self.runs, outcome.judgement)
        return RunOutcome(
            judgement=judgement, answers=answers, cpu_seconds=facts["cpu"], telemetry=telemetry, reason="as it is"
        )

    def suite(self, tree, script, *, timeout_s=900):  # noqa: ARG002
        self.scripts.append(script)
        for word, sides in self.suites.items():
            if word in script:
                answer = sides.get(self.side(tree), SuiteOutcome(exit_code=0))
                return answer.pop(0) if isinstance(answer, list) else answer
        passed = read(self.repository, tree, "app.py") == GOOD.encode()
        return SuiteOutcome(exit_code=0 if passed else 1, tests={"t::new": "passed" if passed else "failed"})


@pytest.fixture
def shop(tmp_path):
    history = History(tmp_path / "repo")
    good = history.commit("good", app_py=GOOD, **{"setup.cfg": "[flake8]\n"})
    bad = history.commit("bad", app_py=BAD)
    return history.repository(tmp_path / "scratch"), good, bad


def patched(bad, text=GOOD):
    return Tree(revision=bad, overlay={"app.py": text.encode()})


def check(summary, name):
    return next(c for c in summary.checks if c.name == name)


SUITE = {"pytest": {s: SuiteOutcome(exit_code=0, tests={"t::a": "passed"}) for s in ("bad", "patched")}}
LINT = {"flake8": {s: SuiteOutcome(exit_code=0) for s in ("bad", "patched")}}


def test_a_sound_patch_passes_every_check(shop):
    repository, good, bad = shop
    runner = Bench(repository, suites=SUITE | LINT)
    test = NewTest("test_new.py", b"def test(): ...\n", "run the new one")
    summary = verify(repository, runner, patched(bad), "pytest", good=good, diff=b"x", origin="hunks", new_test=test)
    assert [c.name for c in summary.checks if c.passed is not True] == []
    assert summary.verified
    assert summary.origin == "hunks"
    assert len(summary.checks) == 10
    assert "10 of 10" in check(summary, "reproduction").detail
    assert "KeyError" in check(summary, "error spans").detail


@pytest.mark.parametrize(
    ("facts", "suites", "failing"),
    [
        ({"patched": {"as_good": False}}, {}, "healthy requests"),
        ({"patched": {"spans": [span("SELECT", error=True, exception="Locked")]}}, {}, "error spans"),
        ({"patched": {"seconds": 0.9}}, {}, "latency"),
        ({"patched": {"cpu": 3.0}}, {}, "cpu"),
        (
            {},
            {"pytest": SUITE["pytest"] | {"patched": SuiteOutcome(exit_code=1, tests={"t::a": "failed"})}},
            "suite",
        ),
        ({}, {"pytest": SUITE["pytest"] | {"patched": SuiteOutcome(exit_code=2, tests={})}}, "suite"),
        ({}, {"flake8": LINT["flake8"] | {"patched": SuiteOutcome(exit_code=1, log_tail="E1\nE2")}}, "linters"),
    ],
)
def test_one_failed_check_is_enough(shop, facts, suites, failing):
    repository, good, bad = shop
    runner = Bench(repository, facts=facts, suites=SUITE | LINT | suites)
    summary = verify(repository, runner, patched(bad), "pytest", good=good, diff=b"x", repeats=3)
    assert [c.name for c in summary.checks if c.passed is False] == [failing]
    assert not summary.verified
    assert failing in summary.reason


def test_one_bad_run_of_ten_fails_the_patch_and_the_rest_is_not_run(shop):
    repository, good, bad = shop
    runner = Bench(repository, facts={"patched": {"judgements": {7: "bad"}}}, suites=SUITE)
    summary = verify(repository, runner, patched(bad), "pytest", good=good, diff=b"x")
    assert not summary.verified
    assert check(summary, "reproduction").passed is False
    assert check(summary, "suite").passed is True
    assert check(summary, "latency").detail == "not run: reproduction"
    assert runner.runs == 7


def test_a_patch_that_breaks_the_suite_is_refused_after_one_run(shop):
    repository, good, bad = shop
    broken = {"pytest": SUITE["pytest"] | {"patched": SuiteOutcome(exit_code=1, tests={"t::a": "failed"})}}
    runner = Bench(repository, suites=broken)
    summary = verify(repository, runner, patched(bad), "pytest", good=good, diff=b"x")
    assert summary.reason == "failed: suite"
    assert runner.runs == 1


def test_a_test_that_an_earlier_patch_broke_is_run_first_and_alone(shop):
    repository, good, bad = shop
    failed = SuiteOutcome(exit_code=1, tests={"t::test_a[1]": "failed", "t::test_b": "passed"})
    before = SuiteOutcome(exit_code=0, tests={"t::test_a[1]": "passed", "t::test_b": "passed"})
    runner = Bench(repository, suites={"pytest": {"bad": before, "patched": failed}})
    with Verifier(repository, runner, bad, "pytest", good=good) as verifier:
        assert verifier.verify(patched(bad), diff=b"x").reason == "failed: suite"
        first = len(runner.scripts)
        assert verifier.verify(patched(bad, GOOD + "\n"), diff=b"x").reason == "failed: suite"
        assert {"-k 'test_a'" in script for script in runner.scripts[first:]} == {True}
        runner.suites["pytest"]["patched"] = before
        third = verifier.verify(patched(bad, GOOD + "\n\n"), diff=b"x")
    assert third.verified
    assert "-k" not in runner.scripts[-1]


def test_what_patches_are_compared_with_is_run_once(shop):
    repository, good, bad = shop
    runner = Bench(repository, suites=SUITE)
    with Verifier(repository, runner, bad, "pytest", good=good, repeats=2) as verifier:
        first = verifier.verify(patched(bad), origin="hunks", diff=b"x")
        runs, scripts = runner.runs, len(runner.scripts)
        second = verifier.verify(patched(bad, GOOD + "\n"), origin="model", diff=b"x")
    assert first.verified
    assert second.verified
    assert (first.origin, second.origin) == ("hunks", "model")
    assert runner.runs - runs < runs
    assert runner.scripts[scripts:].count("pytest") == 1


def test_an_empty_patch_and_one_that_does_not_parse_are_refused_without_a_run(shop):
    repository, _, bad = shop
    runner = Bench(repository)
    for tree in (Tree(revision=bad), patched(bad, BAD), patched(bad, "def (:\n")):
        summary = verify(repository, runner, tree, "pytest", diff=b"x")
        assert not summary.verified
        assert summary.reason
    assert not verify(repository, runner, patched(bad), "pytest", diff=b"").verified
    assert runner.runs == 0


def test_a_reproduction_that_always_passes_is_no_new_test(shop):
    repository, _, bad = shop
    runner = Bench(repository, verdicts={bad: "good"}, suites=SUITE)
    summary = verify(repository, runner, patched(bad), "pytest", diff=b"x", repeats=2)
    assert check(summary, "new test").passed is False
    assert not summary.verified


@pytest.mark.parametrize("before", [{"t": "error"}, {"t": "passed"}, {}])
def test_a_new_test_that_errors_or_passes_on_bad_is_refused(shop, before):
    repository, _, bad = shop
    sides = [SuiteOutcome(exit_code=1, tests=before), SuiteOutcome(exit_code=0, tests={"t": "passed"})]
    suites = SUITE | {"new": {"patched": sides}}
    summary = verify(
        repository, Bench(repository, suites=suites), patched(bad), "pytest", diff=b"x", repeats=2,
        new_test=NewTest("test_new.py", b"", "new"),
    )  # fmt: skip
    assert check(summary, "new test").passed is False


def test_a_new_test_that_is_skipped_with_the_patch_tells_nothing(shop):
    repository, _, bad = shop
    before = SuiteOutcome(exit_code=1, tests={"t::gone": "failed", "t::healthy": "passed"})
    after = SuiteOutcome(exit_code=0, tests={"t::gone": "skipped", "t::healthy": "passed"})
    summary = verify(
        repository, Bench(repository, suites=SUITE | {"new": {"patched": [before, after]}}), patched(bad),
        "pytest", diff=b"x", repeats=2, new_test=NewTest("test_new.py", b"", "new"),
    )  # fmt: skip
    assert check(summary, "new test").passed is False
    assert "with the patch it gave" in check(summary, "new test").detail


def test_without_pytest_in_the_environment_the_judged_runs_serve(shop):
    repository, _, bad = shop
    summary = verify(
        repository, Bench(repository, suites=SUITE | {"new": {"patched": SuiteOutcome(exit_code=77)}}), patched(bad),
        "pytest", diff=b"x", repeats=2, new_test=NewTest("test_new.py", b"", "new"),
    )  # fmt: skip
    assert check(summary, "new test").passed is True
    assert "no pytest" in check(summary, "new test").detail


def test_a_written_reproduction_becomes_a_test_in_the_tree(tmp_path):
    (tmp_path / "bodies").mkdir()
    (tmp_path / "test_reproduction.py").write_bytes(b"def test(): ...\n")
    (tmp_path / "bodies" / "a").write_bytes(b"\x00body")
    (tmp_path / "link").symlink_to("/etc/passwd")
    test = plain_test(tmp_path)
    assert test.content == b"def test(): ...\n"
    assert test.more == {".butfor-reproduction/bodies/a": b"\x00body"}
    assert plain_test(tmp_path / "bodies") is None


def test_a_flaky_test_is_repeated(shop):
    repository, good, bad = shop
    failed, passed = (SuiteOutcome(exit_code=0, tests={"t::a": how}) for how in ("failed", "passed"))
    suites = LINT | {"pytest": SUITE["pytest"] | {"patched": [failed, passed]}}
    runner = Bench(repository, suites=suites)
    summary = verify(repository, runner, patched(bad), "pytest", good=good, diff=b"x", repeats=2)
    assert summary.verified
    assert "after 2 tries" in check(summary, "suite").detail


def test_what_cannot_be_told_is_said_and_does_not_pass(shop):
    repository, _, bad = shop
    summary = verify(repository, Bench(repository), patched(bad), "", diff=b"x", repeats=2)
    assert check(summary, "suite").passed is None
    assert "no test" in check(summary, "suite").detail
    late = verify(repository, Bench(repository), patched(bad), "pytest", diff=b"x", repeats=2, deadline=0.0)
    assert not late.verified
    assert "suite" in late.reason
    assert check(late, "reproduction").passed is None
    assert "time is used up" in check(late, "reproduction").detail


def test_a_known_error_at_good_is_not_new(shop):
    repository, good, bad = shop
    facts = {side: {"spans": [span("GET /x", exception="NotFound")]} for side in ("good", "patched")}
    summary = verify(
        repository, Bench(repository, facts=facts, suites=SUITE | LINT), patched(bad), "pytest", good=good, diff=b"x",
        repeats=2,
    )  # fmt: skip
    assert check(summary, "error spans").passed is True
    without = verify(
        repository, Bench(repository, facts=facts, suites=SUITE | LINT), patched(bad), "pytest", diff=b"x", repeats=2
    )
    assert check(without, "error spans").passed is None


def test_a_linter_that_is_not_installed_is_not_a_pass(shop):
    repository, good, bad = shop
    lint = {"flake8": {"patched": SuiteOutcome(exit_code=77)}}
    summary = verify(
        repository, Bench(repository, suites=SUITE | lint), patched(bad), "pytest", good=good, diff=b"x", repeats=2
    )
    assert check(summary, "linters").passed is None
    assert summary.verified


@given(st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["passed", "failed", "skipped"])))
def test_the_same_report_breaks_nothing_and_a_lost_test_counts(tests):
    before = SuiteOutcome(exit_code=0, tests=tests)
    assert broken_tests(before, before) == []
    assert broken_tests(before, SuiteOutcome(exit_code=0)) == sorted(k for k, how in tests.items() if how == "passed")


@given(st.floats(0, 5), st.floats(0, 5))
def test_being_quicker_or_cheaper_never_fails(before, after):
    def run(seconds):
        answer = AnswerSeen(id="h", role="healthy", status=200, seconds=seconds, as_good=True)
        return RunOutcome(judgement="good", answers=[answer], cpu_seconds=seconds)

    sides = Sides([run(after)], [run(before)])
    if after <= before:
        assert latency(sides, Limits()).passed is not False
        assert cpu(sides, Limits()).passed is not False


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda v: (
        st.lists(v, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["resourceSpans", "scopeSpans", "spans", "status", "attributes", "events", "resource", "value"]
            ),
            v,
        )
    ),
    max_leaves=20,
)


@given(json_values)
def test_hostile_telemetry_is_read_without_an_error(tmp_path_factory, value):
    folder = tmp_path_factory.mktemp("spans")
    (folder / "spans.otlp.jsonl").write_text(json.dumps(value) + "\n" + "[" * 5000)
    (folder / "logs.otlp.jsonl").write_bytes(b"\xff\x00\n")
    assert isinstance(errors_seen(folder), set)
