"""The three claims over real small histories: what holds, how, and what is never claimed."""

import pytest

from bisecting.histories import FakeRunner, History
from butfor.evidence.runs import Tree
from butfor.evidence.verdicts import Claim
from butfor.patching import counterfactual
from butfor.patching.attempts import styled
from butfor.patching.functions import definitions, put_back
from butfor.patching.transfers import Change, View

HEAD = "def handle():\n    timeout = 500\n    retries = 3\n    answer = call(timeout)\n    return answer\n"
FEATURE = "def handle():\n    return 500\n\n\ndef feature():\n    return 200\n"
LIB = "def call(timeout):\n    return 500 if timeout < 100 else 200\n"


def prove(tmp_path, history, culprit, good, bad, **options):
    repository = history.repository(tmp_path / "scratch")
    runner = FakeRunner(repository)
    return counterfactual(repository, runner, culprit, good, bad, **options), runner


def start(tmp_path):
    history = History(tmp_path / "repo")
    return history, history.commit("start", app_py=HEAD, lib_py=LIB, docs__a="1\n")


def test_a_plain_revert_and_a_plain_pick_hold(tmp_path):
    history, good = start(tmp_path)
    history.commit("feature", feature_py="F = 1\n")
    culprit = history.commit("faster", app_py=HEAD.replace("500\n    retries", "50\n    retries"))
    bad = history.commit("later", feature_py="F = 2\n")
    proof, runner = prove(tmp_path, history, culprit, good, bad)
    claims = proof.counterfactual
    assert [claims.transition.held, claims.necessary.held, claims.sufficient.held] == [True, True, True]
    assert claims.necessary.method == claims.sufficient.method == "plain 3-way"
    assert proof.healing[0].complete
    assert proof.healing[0].tree.revision == bad
    assert proof.runs == runner.runs


def test_a_transition_that_held_is_not_run_again(tmp_path):
    history, good = start(tmp_path)
    culprit = history.commit("faster", app_py=HEAD.replace("timeout = 500", "timeout = 50"))
    given = Claim(method="bisection", held=True, runs=2)
    proof, _ = prove(tmp_path, history, culprit, good, culprit, transition=given)
    assert proof.counterfactual.transition == given


def test_a_conflict_in_docs_is_left_out(tmp_path):
    history, good = start(tmp_path)
    culprit = history.commit("faster", app_py=HEAD.replace("timeout = 500", "timeout = 50"), docs__a="2\n")
    bad = history.commit("docs", docs__a="3\n")
    proof, _ = prove(tmp_path, history, culprit, good, bad)
    assert proof.counterfactual.necessary.held is True
    assert "left out" in proof.counterfactual.necessary.method
    assert "docs/a" not in proof.healing[0].tree.overlay


def test_neighbouring_lines_go_hunk_by_hunk(tmp_path):
    history, good = start(tmp_path)
    changed = HEAD.replace("timeout = 500", "timeout = 50")
    culprit = history.commit("faster", app_py=changed)
    bad = history.commit("neighbour", app_py=changed.replace("retries = 3", "retries = 5"))
    proof, _ = prove(tmp_path, history, culprit, good, bad)
    assert proof.counterfactual.necessary.held is True
    assert "hunk by hunk" in proof.counterfactual.necessary.method
    assert b"retries = 5" in proof.healing[0].tree.overlay["app.py"]


def test_a_function_changed_since_is_put_back_as_it_was(tmp_path):
    history, good = start(tmp_path)
    history.commit("faster", app_py=HEAD.replace("timeout = 500", "timeout = 50"))
    culprit = history.git("rev-parse", "HEAD")
    bad = history.commit(
        "rework", app_py=HEAD.replace("timeout = 500", "limit = 5 * 10").replace("(timeout)", "(limit)")
    )
    proof, _ = prove(tmp_path, history, culprit, good, bad)
    assert proof.counterfactual.necessary.held is True
    assert f", with what {bad[:12]} changed in them" in proof.counterfactual.necessary.method
    assert any("control of that, what others changed" in line for line in proof.counterfactual.necessary.details)
    assert proof.healing[0].origin == "functions"


def test_a_restored_function_gets_its_imports_back(tmp_path):
    history = History(tmp_path / "repo")
    good = history.commit("start", app_py="import math\n\n\ndef handle():\n    return math.floor(200.5)\n")
    culprit = history.commit("no math", app_py="def handle():\n    return 500\n")
    bad = history.commit("more", app_py="X = 1\n\n\ndef handle():\n    code = 500 * X\n    return code\n")
    proof, _ = prove(tmp_path, history, culprit, good, bad)
    assert proof.counterfactual.necessary.held is True
    assert b"import math" in proof.healing[0].tree.overlay["app.py"]


def test_a_function_that_is_put_back_alone_gets_what_it_needs_at_home_too(tmp_path):
    history = History(tmp_path / "repo")
    before = "import math\nimport os\n\nA = os.sep\n\n\ndef handle():\n    return math.floor(200.5)\n"
    history.commit("start", app_py=before)
    after = "import os\n\nA = os.altsep\n\n\ndef handle():\n    return 500\n"
    culprit = history.commit("no math", app_py=after)
    repository = history.repository(tmp_path / "scratch")
    change = Change(repository, culprit, f"{culprit}^")
    part = [unit for unit in change.units if unit.function == "handle"]
    bad = View(repository, Tree(revision=history.commit("more", app_py=after.replace("500", "5 * 100"))))
    (attempt,) = styled(change, bad, part)
    controls = [one.tree.overlay["app.py"] for one in attempt.controls if one.expected == "as wanted"]
    assert [(b"import math" in text, b"altsep" in text) for text in controls] == [(True, True)]


def test_where_a_later_change_brings_the_failure_too_it_is_named(tmp_path):
    history, good = start(tmp_path)
    broken = HEAD.replace("timeout = 500", "timeout = 50")
    culprit = history.commit("faster", app_py=broken)
    moved = broken.replace("    return answer", "    answer += 0\n    return answer")
    again = history.commit("one more", app_py=moved, lib_py=LIB.replace("< 100", "< 1000"))
    bad = history.commit("beside", other_py="X = 1\n")
    necessary = prove(tmp_path, history, culprit, good, bad)[0].counterfactual.necessary
    assert necessary.held is False
    assert f"another change brings it too; {again[:12]} changed the same functions since" in necessary.reason


def test_a_renamed_file_is_followed(tmp_path):
    history, good = start(tmp_path)
    broken = LIB.replace("< 100", "< 1000")
    history.commit("bigger", lib_py="# calls\n" * 8 + LIB)
    culprit = history.commit("stricter", lib_py="# calls\n" * 8 + broken)
    bad = history.commit("move", lib_py=None, calls_py="# calls\n" * 8 + broken)
    proof, _ = prove(tmp_path, history, culprit, good, bad)
    assert proof.counterfactual.necessary.held is True
    assert "calls.py" in proof.healing[0].tree.overlay


def test_later_commits_that_build_on_it_go_with_it(tmp_path):
    history = History(tmp_path / "repo")
    good = history.commit("start", app_py="def handle():\n    return 200\n", x_py="A = 1\nB = 2\nC = 3\n")
    culprit = history.commit(
        "table", app_py="def handle():\n    return TABLE['code']\n", x_py="TABLE = {'code': 500}\n"
    )
    history.commit("unrelated", note_py="N = 1\n")
    bad = history.commit("build", x_py="CODE = 'code'\nTABLE = {CODE: 500, 'more': 1}\nCODE = CODE\n")
    proof, _ = prove(tmp_path, history, culprit, good, bad)
    assert proof.counterfactual.necessary.held is True


def test_earlier_commits_that_it_needs_go_with_it(tmp_path):
    history = History(tmp_path / "repo")
    good = history.commit("start", app_py="def handle():\n    return 200\n")
    history.commit("unrelated", note_py="N = 1\n")
    need = history.commit(
        "limits", limits_py="LIMIT = 100\n\n\ndef check(value):\n    return 200 if value < LIMIT else 500\n"
    )
    culprit = history.commit("use", app_py="def handle():\n    return check(150)\n")
    bad = history.commit("later", note_py="N = 2\n")
    proof, _ = prove(tmp_path, history, culprit, good, bad)
    sufficient = proof.counterfactual.sufficient
    assert sufficient.held is True
    assert sufficient.method == f"with 1 earlier commits that it needs: {need[:12]}"


def test_an_earlier_commit_that_fails_alone_does_not_count(tmp_path):
    history = History(tmp_path / "repo")
    good = history.commit("start", app_py="def handle():\n    return 200\n")
    history.commit(
        "helper that breaks", help_py="def check():\n    return 500\n", app_py="def handle():\n    return check()\n"
    )
    culprit = history.commit("use", app_py="def handle():\n    return check() + 0\n")
    proof, _ = prove(tmp_path, history, culprit, good, culprit)
    assert proof.counterfactual.transition.held is False
    assert proof.counterfactual.sufficient.held is not True


def test_a_failure_with_another_cause_too_is_not_necessary(tmp_path):
    history, good = start(tmp_path)
    culprit = history.commit("faster", app_py=HEAD.replace("timeout = 500", "timeout = 50"))
    bad = history.commit("stricter", lib_py=LIB.replace("< 100", "< 1000"))
    proof, _ = prove(tmp_path, history, culprit, good, bad)
    assert proof.counterfactual.necessary.held is False
    assert "another change" in proof.counterfactual.necessary.reason
    assert proof.healing == []


def test_a_tree_that_does_not_start_proves_nothing(tmp_path):
    history, good = start(tmp_path)
    culprit = history.commit("constant", app_py="LIMIT = 50\n" + HEAD.replace("timeout = 500", "timeout = LIMIT"))
    bad = history.commit("needs it", zz_py="", app_py="LIMIT = 50\n" + HEAD.replace("timeout = 500", "timeout = LIMIT")
                         + "\n\nassert LIMIT == 50\nassert handle() == 500\n")  # fmt: skip
    proof, _ = prove(tmp_path, history, culprit, good, bad)
    assert proof.counterfactual.necessary.held is None
    assert proof.counterfactual.necessary.reason
    assert "does not start" in " ".join(proof.counterfactual.necessary.details)


def test_healthy_requests_must_keep_their_answers(tmp_path):
    history = History(tmp_path / "repo")
    good = history.commit("start", app_py="def handle():\n    return 200\n")
    culprit = history.commit("feature", app_py=FEATURE)
    bad = history.commit("use", app_py=FEATURE + "\n\ndef healthy():\n    return feature()\n")
    proof, _ = prove(tmp_path, history, culprit, good, bad)
    assert proof.counterfactual.necessary.held is True
    assert b"def feature" in proof.healing[0].tree.overlay["app.py"]


def test_a_merge_is_taken_out_and_put_in_per_parent(tmp_path):
    history = History(tmp_path / "repo")
    good = history.commit(
        "start", app_py="def handle():\n    return 500 if A and B else 200\n", x_py="A = 0\n", y_py="B = 0\n"
    )
    history.commit("one", x_py="A = 1\n")
    history.git("checkout", "-q", "-b", "side", good)
    history.commit("other", y_py="B = 1\n")
    history.git("checkout", "-q", "main")
    history.git("merge", "-q", "--no-ff", "-m", "merge", "side")
    merge = history.git("rev-parse", "HEAD")
    bad = history.commit("later", note_py="N = 1\n")
    proof, _ = prove(tmp_path, history, merge, good, bad)
    claims = proof.counterfactual
    assert claims.transition.held is True
    assert claims.transition.runs >= 3
    assert claims.necessary.held is True


def test_the_budget_is_kept_and_named(tmp_path):
    history, good = start(tmp_path)
    culprit = history.commit("faster", app_py=HEAD.replace("timeout = 500", "timeout = 50"))
    proof, runner = prove(tmp_path, history, culprit, good, culprit, budget=2, transition=Claim(held=True))
    assert runner.runs <= 2
    proof, runner = (
        prove(tmp_path / "b", history, culprit, good, culprit, budget=0, transition=Claim(held=True))
        if ((tmp_path / "b").mkdir() is None)
        else (proof, runner)
    )
    assert runner.runs == 0
    assert "budget" in proof.counterfactual.necessary.reason


@pytest.mark.parametrize("flip", [2, 3])
def test_a_verdict_that_does_not_repeat_is_not_claimed(tmp_path, flip):
    history, good = start(tmp_path)
    culprit = history.commit("faster", app_py=HEAD.replace("timeout = 500", "timeout = 50"))
    repository = history.repository(tmp_path / "scratch")

    class Flaky(FakeRunner):
        def run(self, tree, *, healthy=True, keep_telemetry=None):  # noqa: ARG002
            outcome = super().run(tree, healthy=healthy)
            healed = outcome.judgement == "good" and self.runs % flip == 0
            return outcome.model_copy(update={"judgement": "bad"}) if healed else outcome

    proof = counterfactual(
        repository, Flaky(repository), culprit, good, culprit, transition=Claim(held=True), repeats=3
    )
    assert proof.counterfactual.necessary.held is not True


def test_two_commits_that_fail_only_together(tmp_path):
    history = History(tmp_path / "repo")
    app = "def handle():\n    return 500 if A and B else 200\n"
    good = history.commit("start", app_py=app, x_py="A = 0\n", y_py="B = 0\n", n_py="N = 0\n")
    history.commit("unrelated", n_py="N = 1\n")
    other = history.commit("one half", x_py="A = 1\n")
    history.commit("unrelated again", m_py="M = 1\n")
    culprit = history.commit("the other half", y_py="B = 1\n")
    proof, _ = prove(tmp_path, history, culprit, good, culprit)
    sufficient = proof.counterfactual.sufficient
    assert sufficient.held is True
    assert sufficient.method == f"with 1 of 3 earlier commits that it needs: {other[:12]}"


def test_nothing_is_claimed_when_no_earlier_commit_can_be_left_out(tmp_path):
    history = History(tmp_path / "repo")
    good = history.commit(
        "start", app_py="def handle():\n    return 500 if A and B else 200\n", x_py="A = 0\n", y_py="B = 0\n"
    )
    history.commit("one half", x_py="A = 1\n")
    culprit = history.commit("the other half", y_py="B = 1\n")
    proof, _ = prove(tmp_path, history, culprit, good, culprit)
    assert proof.counterfactual.sufficient.held is None
    assert proof.counterfactual.sufficient.reason


def test_a_restored_function_gets_its_constants_and_what_they_use():
    source = b"import math\nfrom typing import Final\n\nBASE: Final = math.pi\nLIMIT: Final = BASE * 2\n\n\ndef handle():\n    return LIMIT\n"
    content = b"import os\n\n\ndef handle():\n    return os.sep\n"
    restored = put_back(content, definitions(source)["handle"], source)
    space: dict[str, object] = {}
    exec(restored, space)
    assert space["handle"]() == space["math"].pi * 2
    assert b"import os" in restored


def test_what_a_restored_function_needs_as_the_module_is_loaded_stands_before_it():
    source = (
        b"LIMIT = 3\n\n\ndef twice(f):\n    return lambda self, *a: doubled(f(self, *a))\n\n\n"
        b"def doubled(value):\n    return value * 2\n\n\n"
        b"class Desk:\n    @twice\n    def handle(self, count=LIMIT):\n        return named(count)\n\n\n"
        b"def named(count):\n    return count + 1\n"
    )
    content = b"import os\n\n\nclass Desk:\n    def handle(self):\n        return os.sep\n"
    restored = put_back(content, definitions(source)["Desk.handle"], source)
    space: dict[str, object] = {}
    exec(restored, space)
    assert space["Desk"]().handle() == 8
    assert restored.index(b"class Desk") < restored.index(b"def named")


def test_a_restored_method_gets_the_methods_that_it_calls_and_theirs():
    source = (
        b"import math\n\n\nclass Desk:\n    def top(self):\n        return 7\n\n"
        b"    def handle(self):\n        return self.parts() + self.kept()\n\n    def kept(self):\n        return 1\n\n"
        b"    def parts(self):\n        return self.deeper() + self.parts_known\n\n    parts_known = 2\n\n"
        b"    def deeper(self):\n        return math.floor(3.5)\n"
    )
    content = b"class Desk:\n    parts_known = 20\n\n    def kept(self):\n        return 100\n\n    def handle(self):\n        return 0\n"
    restored = put_back(content, definitions(source)["Desk.handle"], source)
    space: dict[str, object] = {}
    exec(restored, space)
    assert space["Desk"]().handle() == 3 + 20 + 100
    assert b"def top" not in restored
    assert restored.count(b"def deeper") == 1


DESK = b"""class Desk:
    shown = 1

    def __init__(self, name, size=2):
        self.name = name
        self.kept = {"size": size}
        self.shown = 5
        self.unknown = gone()
        self.other = 9

    def handle(self):
        return self.name, self.kept["size"], self.shown, self.seen()

    def seen(self):
        return getattr(self, "other", None), getattr(self, "unknown", None)
"""


def test_a_restored_method_gets_the_state_that_it_reads_and_nothing_sets():
    source = DESK
    content = (
        b"class Desk:\n    shown = 1\n\n    def __init__(self, name, size=3):\n"
        b"      self.name = name\n      self.held = size\n\n"
        b"    def handle(self):\n        return self.held\n"
    )
    restored = put_back(content, definitions(source)["Desk.handle"], source)
    space: dict[str, object] = {}
    exec(restored, space)
    assert space["Desk"]("ann").handle() == ("ann", 3, 1, (None, None))
    assert b"self.held = size\n      self.kept" in restored


@pytest.mark.parametrize("begins", [b"    def __init__(self, name): self.name = name\n\n", b""])
def test_state_has_no_place_without_a_body_of_its_own(begins):
    content = b"class Desk:\n" + begins + b"    def handle(self):\n        return 1\n"
    assert b"self.kept =" not in (put_back(content, definitions(DESK)["Desk.handle"], DESK) or b"")


ITEMS = "ITEMS = ['a', 'b']\nLISTED = ['a', 'b', 'gone']\n\n\ndef new(item):\n    return {'gone': 300}.get(item, 100)\n"
LOOP = "def handle():\n    total = 0\n    for item in ITEMS:\n        total += old(item)\n    return total\n"


def test_a_statement_of_the_culprit_is_enough_where_the_whole_does_not_run_any_more(tmp_path):
    history = History(tmp_path / "repo")
    good = history.commit("start", app_py=LOOP, lib_py=ITEMS + "\n\ndef old(item):\n    return 100\n")
    culprit = history.commit("bulk", app_py=LOOP.replace("ITEMS", "LISTED").replace("old(", "new("))
    bad = history.commit("old is gone", lib_py=ITEMS)
    proof, _ = prove(tmp_path, history, culprit, good, bad)
    necessary = proof.counterfactual.necessary
    assert necessary.held is True
    assert necessary.method.startswith("in part (1 of 2 changed statements, in app.py: `for item in ITEMS:`)")
    assert any("control" in line and "good" in line for line in necessary.details)
    healed = proof.healing[0]
    assert not healed.complete
    assert healed.tree.overlay == {"app.py": LOOP.replace("old(", "new(").encode()}


def test_what_others_changed_in_a_restored_function_must_not_explain_it(tmp_path):
    history, good = start(tmp_path)
    culprit = history.commit("faster", app_py=HEAD.replace("timeout = 500", "timeout = 50"))
    history.commit("lenient", lib_py=LIB.replace("< 100", "< 10"))
    bad = history.commit("rework", app_py=HEAD.replace("timeout = 500", "limit = 5").replace("(timeout)", "(limit)"))
    proof, _ = prove(tmp_path, history, culprit, good, bad)
    necessary = proof.counterfactual.necessary
    assert necessary.held is None
    assert "another explanation" in necessary.reason
    assert "what others changed in these functions" in necessary.reason
    assert proof.healing
    assert proof.healing[0].tree.revision == bad


def test_a_part_does_not_count_where_the_rest_fails_at_home(tmp_path):
    history = History(tmp_path / "repo")
    app = "def handle():\n    return 500 if A or B else 200\n"
    good = history.commit("start", app_py=app, x_py="A = 0\n", y_py="B = 0\n")
    culprit = history.commit("both", x_py="A = 1\n", y_py="B = 1\n")
    bad = history.commit("one is put right", y_py="B = 0  # was 1\n")
    proof, _ = prove(tmp_path, history, culprit, good, bad)
    necessary = proof.counterfactual.necessary
    assert any(f"the same part at {culprit[:12]}: bad" in line for line in necessary.details)
    assert necessary.held is True
    assert necessary.method == f"with 1 later commits that build on it: {bad[:12]}"
    assert necessary.details[-1] == "control of that, the other commits moved alone: bad"


def test_a_part_that_counts_says_what_was_left(tmp_path):
    history = History(tmp_path / "repo")
    good = history.commit("start", app_py="def handle():\n    return 200\n", y_py="B = 0\n")
    culprit = history.commit("both", app_py="def handle():\n    return 500\n", y_py="B = 1\n")
    bad = history.commit("more", y_py="B = 2\n")
    proof, _ = prove(tmp_path, history, culprit, good, bad)
    necessary = proof.counterfactual.necessary
    assert necessary.held is True
    assert necessary.method.startswith("in part (app.py:handle; left as it is: y.py)")
