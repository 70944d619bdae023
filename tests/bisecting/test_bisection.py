"""Bisection over real histories, with real git as the witness."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bisecting.histories import ENVIRONMENT, FakeRunner, History
from butfor.bisecting import bisect
from butfor.bisecting.lineages import Lineage
from butfor.bisecting.posteriors import Posterior, prior
from butfor.bisecting.replays import git_bisect_runs
from butfor.evidence.runs import AnswerSeen, RunOutcome
from butfor.evidence.suspects import Ranking, Suspect
from butfor.ports.repositories import Commit

GOOD_APP, BAD_APP = "def handle():\n    return 200\n", "def handle():\n    return 500\n"
BROKEN = "raise RuntimeError\n"


def linear(tmp_path, size=40, culprit=17, broken=()):
    history = History(tmp_path / "repo")
    shas = [history.commit("start", app_py=GOOD_APP)]
    for i in range(1, size):
        app = BROKEN if i in broken else BAD_APP if i >= culprit else GOOD_APP
        shas.append(history.commit(f"change {i}", app_py=app, note_py=f"N = {i}\n"))
    return history, shas


def ranking(shas, *first):
    return Ranking(suspects=[Suspect(commit=s, score=1.0, probability=p) for s, p in first], candidates=len(shas))


def replayed(history, result, tmp_path):
    log = tmp_path / "log"
    log.write_text(result.bisection.log)
    history.git("bisect", "replay", str(log), check=False)
    return history.git("bisect", "log")


def test_finds_the_culprit_and_git_replays_its_log(tmp_path):
    history, shas = linear(tmp_path)
    repository = history.repository(tmp_path / "scratch")
    result = bisect(repository, FakeRunner(repository), ranking(shas), shas[0], shas[-1], budget=50)
    assert result.culprit == shas[17]
    assert result.transition.held is True
    assert result.verdicts[shas[17]] == "bad"
    assert result.verdicts[shas[16]] == "good"
    assert f"# first bad commit: [{shas[17]}]" in replayed(history, result, tmp_path)
    assert result.bisection.runs <= (result.bisection.git_bisect_runs or 0) + 1


def test_a_good_ranking_saves_runs(tmp_path):
    history, shas = linear(tmp_path)
    repository = history.repository(tmp_path / "scratch")
    informed = ranking(shas, (shas[30], 0.4), (shas[17], 0.3), (shas[5], 0.1))
    result = bisect(repository, FakeRunner(repository), informed, shas[0], shas[-1], budget=50)
    assert result.culprit == shas[17]
    assert result.bisection.runs <= 0.7 * (result.bisection.git_bisect_runs or 0)


def test_a_wrong_ranking_costs_a_few_runs_only(tmp_path):
    history, shas = linear(tmp_path)
    repository = history.repository(tmp_path / "scratch")
    result = bisect(repository, FakeRunner(repository), ranking(shas, (shas[35], 1.0)), shas[0], shas[-1], budget=50)
    assert result.culprit == shas[17]
    assert result.bisection.runs <= 10


def test_git_bisect_runs_is_what_git_itself_uses(tmp_path):
    history, shas = linear(tmp_path)
    repository = history.repository(tmp_path / "scratch")
    result = bisect(repository, FakeRunner(repository), ranking(shas), shas[0], shas[-1], budget=50)
    assert result.bisection.git_bisect_runs == run_git(history, shas[0], shas[-1], shas[17])


def run_git(history, good, bad, culprit):
    """Executions of a script by `git bisect run`, answering by ancestry."""
    count = history.path.parent / "count"
    count.write_text("")
    script = history.path.parent / "script"
    script.write_text(
        f"#!/bin/sh\necho x >> {count}\nif git merge-base --is-ancestor {culprit} HEAD; then exit 1; fi\nexit 0\n"
    )
    script.chmod(0o755)
    history.git("bisect", "start", bad, good)
    out = history.git("bisect", "run", str(script))
    history.git("bisect", "reset")
    assert f"{culprit} is the first bad commit" in out
    return count.read_text().count("x")


def graph(history, shape):
    """Commits with merges: each number says how far back a second parent is."""
    shas = [history.commit("root", app_py=GOOD_APP)]
    for i, back in enumerate(shape):
        tree = history.git("rev-parse", "HEAD^{tree}")
        parents = [shas[-1]] if back == 0 else [shas[-1 - min(back, len(shas) - 1)]]
        if back and i % 2 and len(shas) > 2:
            parents = [shas[-1], *parents] if parents[0] != shas[-1] else parents
        args = [a for p in parents for a in ("-p", p)]
        shas.append(history.git("commit-tree", tree, *args, "-m", f"c{i}"))
    return shas


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(0, 3), min_size=4, max_size=14), st.data())
@pytest.mark.slow
def test_any_graph_gives_the_culprit_and_gits_count(tmp_path_factory, shape, data):
    tmp_path = tmp_path_factory.mktemp("graph")
    history = History(tmp_path / "repo")
    shas = graph(history, shape)
    repository = history.repository(tmp_path / "scratch")
    inside = [c.sha for c in repository.commits(shas[0], shas[-1])]
    culprit = data.draw(st.sampled_from(inside))
    verdicts = {s: "bad" if repository.is_ancestor(culprit, s) else "good" for s in shas}
    result = bisect(repository, FakeRunner(repository, verdicts), ranking(shas), shas[0], shas[-1])
    assert result.culprit == culprit
    assert result.transition.held is True
    assert abs((result.bisection.git_bisect_runs or 0) - run_git(history, shas[0], shas[-1], culprit)) <= 1


def test_a_merge_can_be_the_culprit_only_if_each_parent_is_good(tmp_path):
    history = History(tmp_path / "repo")
    start = history.commit("start", app_py="def handle():\n    return 500 if A and B else 200\n", x_py="A = 0\nB = 0\n")
    one = history.commit("one", x_py="A = 1\nB = 0\n")
    history.git("checkout", "-q", "-b", "side", start)
    other = history.commit("other", y_py="B = 1\n")
    history.git("checkout", "-q", "main")
    history.git("merge", "-q", "--no-ff", "-m", "merge", "side")
    merge = history.git("rev-parse", "HEAD")
    bad = history.commit("later", note_py="N = 1\n")
    repository = history.repository(tmp_path / "scratch")
    result = bisect(repository, FakeRunner(repository), ranking([]), start, bad)
    assert result.culprit == merge
    assert result.transition.held is True
    assert {result.verdicts[one], result.verdicts[other]} == {"good"}


def test_the_merge_base_is_run_when_good_is_no_ancestor(tmp_path):
    history = History(tmp_path / "repo")
    base = history.commit("base", app_py=GOOD_APP)
    good = history.commit("release branch", note_py="N = 0\n")
    history.git("checkout", "-q", "-b", "next", base)
    mid = history.commit("mid", note_py="N = 1\n")
    culprit = history.commit("culprit", app_py=BAD_APP)
    repository = history.repository(tmp_path / "scratch")
    result = bisect(repository, FakeRunner(repository), ranking([]), good, culprit)
    assert result.culprit == culprit
    assert result.verdicts[base] == "good"
    assert result.verdicts[mid] == "good"
    assert f"# first bad commit: [{culprit}]" in replayed(history, result, tmp_path)


def test_a_bad_merge_base_is_said(tmp_path):
    history = History(tmp_path / "repo")
    base = history.commit("base", app_py=BAD_APP)
    good = history.commit("fix on the branch", app_py=GOOD_APP)
    history.git("checkout", "-q", "-b", "next", base)
    bad = history.commit("next", note_py="N = 1\n")
    repository = history.repository(tmp_path / "scratch")
    result = bisect(repository, FakeRunner(repository), ranking([]), good, bad)
    assert result.culprit is None
    assert "merge base" in result.bisection.reason
    assert result.transition.held is None


def test_unbuildable_revisions_are_skipped(tmp_path):
    history, shas = linear(tmp_path, broken=(10, 11, 18, 19, 20, 21, 22))
    repository = history.repository(tmp_path / "scratch")
    result = bisect(repository, FakeRunner(repository), ranking(shas), shas[0], shas[-1], budget=50)
    assert result.culprit == shas[17]
    assert result.transition.held is True
    assert f"# first bad commit: [{shas[17]}]" in replayed(history, result, tmp_path)


def test_a_culprit_beside_unbuildable_ones_is_a_range(tmp_path):
    history, shas = linear(tmp_path, broken=(15, 16, 17))
    repository = history.repository(tmp_path / "scratch")
    result = bisect(repository, FakeRunner(repository), ranking(shas), shas[0], shas[-1], budget=50)
    assert result.culprit is None
    assert set(result.candidates) == set(shas[15:19])
    assert "one of these 4 commits" in result.bisection.reason
    assert result.transition.held is None


def test_revisions_that_answer_otherwise_end_the_search_where_the_caller_can_say_what_they_are(tmp_path):
    history, shas = linear(tmp_path, broken=range(10, 18))
    repository = history.repository(tmp_path / "scratch")

    class Otherwise(FakeRunner):
        def run(self, tree, **more):
            outcome = super().run(tree, **more)
            seen = AnswerSeen(id="f", role="failing", status=200, seconds=0.1, as_good=outcome.judgement == "good")
            return outcome.model_copy(update={"answers": [seen]})

    patient = bisect(repository, Otherwise(repository), ranking(shas), shas[0], shas[-1])
    hasty = bisect(repository, Otherwise(repository), ranking(shas), shas[0], shas[-1], patience=2)
    assert (patient.culprit, hasty.culprit, len(hasty.otherwise)) == (None, None, 2)
    assert len(patient.otherwise) > 2
    assert "neither as good does" in hasty.bisection.reason


def test_verdicts_that_are_known_are_not_run_again(tmp_path):
    history, shas = linear(tmp_path)
    repository = history.repository(tmp_path / "scratch")
    runner = FakeRunner(repository)
    known = {shas[16]: "good", shas[17]: "bad"}
    result = bisect(repository, runner, ranking(shas), shas[0], shas[-1], known=known)
    assert (result.culprit, result.transition.held) == (shas[17], True)
    assert runner.runs == 0


def test_a_flaky_failure_is_repeated(tmp_path):
    history, shas = linear(tmp_path)
    repository = history.repository(tmp_path / "scratch")

    class Flaky(FakeRunner):
        def run(self, tree, *, healthy=True, keep_telemetry=None):  # noqa: ARG002
            outcome = super().run(tree, healthy=healthy)
            return RunOutcome(judgement="good") if outcome.judgement == "bad" and self.runs % 2 else outcome

    result = bisect(
        repository, Flaky(repository), ranking(shas), shas[0], shas[-1], repeats=4, failure_rate=0.5, budget=200
    )
    assert result.culprit == shas[17]
    assert result.transition.held is True
    assert result.transition.runs >= 5


def test_broken_machinery_is_tried_again_and_is_never_bad(tmp_path):
    history, shas = linear(tmp_path, size=6, culprit=3)
    repository = history.repository(tmp_path / "scratch")

    class Shaky(FakeRunner):
        def run(self, tree, *, healthy=True, keep_telemetry=None):  # noqa: ARG002
            outcome = super().run(tree, healthy=healthy)
            return RunOutcome(judgement="unknown", infrastructure=True) if self.runs % 2 else outcome

    result = bisect(repository, Shaky(repository), ranking(shas), shas[0], shas[-1])
    assert result.culprit == shas[3]


def test_the_budget_ends_the_search_with_a_reason(tmp_path):
    history, shas = linear(tmp_path)
    repository = history.repository(tmp_path / "scratch")
    result = bisect(repository, FakeRunner(repository), ranking(shas), shas[0], shas[-1], budget=2)
    assert result.culprit is None
    assert result.bisection.runs == 2
    assert "budget of 2 runs" in result.bisection.reason
    assert shas[17] in result.candidates


def test_a_failure_that_came_went_and_came_back_ends_in_a_real_transition(tmp_path):
    history, shas = linear(tmp_path, size=20, culprit=12)
    repository = history.repository(tmp_path / "scratch")
    verdicts = dict.fromkeys(shas[4:6], "bad")
    result = bisect(repository, FakeRunner(repository, verdicts), ranking(shas, (shas[4], 0.9)), shas[0], shas[-1])
    assert result.culprit in {shas[4], shas[12]}
    assert result.transition.held is True
    assert "# first bad commit" in replayed(history, result, tmp_path)


def test_no_commits_between_is_said(tmp_path):
    history, shas = linear(tmp_path, size=3)
    repository = history.repository(tmp_path / "scratch")
    result = bisect(repository, FakeRunner(repository), ranking(shas), shas[2], shas[2])
    assert result.culprit is None
    assert "no commit between" in result.bisection.reason


def synthetic(size):
    return Lineage.of([Commit(str(i), (str(i - 1),), "", "", "") for i in reversed(range(size))])


@given(st.integers(2, 60), st.data())
def test_the_posterior_stays_a_distribution_and_knows_the_truth(size, data):
    lineage = synthetic(size)
    culprit = data.draw(st.integers(0, size - 1))
    posterior = Posterior(lineage, prior(lineage, {str(culprit): data.draw(st.floats(0, 1))}))
    before = posterior.values[culprit]
    for i in data.draw(st.lists(st.integers(0, size - 1), max_size=8)):
        posterior.observe(i, bad=i >= culprit)
        assert abs(posterior.values.sum() - 1) < 1e-9
    assert posterior.values[culprit] >= before * 0.999


@given(st.integers(2, 300))
def test_a_flat_posterior_is_split_in_the_middle(size):
    lineage = synthetic(size)
    posterior = Posterior(lineage, prior(lineage, {}))
    revisions, gains = posterior.gains(range(size))
    assert abs(2 * (revisions[gains.argmax()] + 1) - size) <= 2


@given(st.integers(1, 400), st.data())
def test_git_needs_about_log2_runs_on_a_line(size, data):
    runs = git_bisect_runs(synthetic(size), str(data.draw(st.integers(0, size - 1))))
    assert runs <= size.bit_length()
    assert runs >= size.bit_length() - 2


def test_a_very_long_range_is_sampled():
    lineage = synthetic(9000)
    revisions, _ = Posterior(lineage, prior(lineage, {"7": 0.5})).gains(range(9000))
    assert len(revisions) <= 4000
    assert 7 in revisions


def test_the_repository_is_left_alone(tmp_path):
    history, shas = linear(tmp_path, size=6, culprit=3)
    before = snapshot(history.path)
    repository = history.repository(tmp_path / "scratch")
    bisect(repository, FakeRunner(repository), ranking(shas), shas[0], shas[-1])
    assert snapshot(history.path) == before


def snapshot(path: Path):
    listing = subprocess.run(["git", "for-each-ref"], cwd=path, env=ENVIRONMENT, capture_output=True, check=True)
    return listing.stdout, sorted(p.name for p in (path / ".git").iterdir())
