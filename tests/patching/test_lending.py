"""A culprit's code as it was may import what was removed since: that is put back with it, and makes no difference alone."""

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st

from bisecting.histories import FakeRunner, History, read
from butfor.evidence.runs import RunOutcome, Tree
from butfor.patching import counterfactual
from butfor.patching.attempts import styled
from butfor.patching.functions import lacks, with_bound
from butfor.patching.lending import give, loan
from butfor.patching.transfers import Change, View


class Running(FakeRunner):
    """Imports `shop.app` of a tree in a process of its own."""

    def run(self, tree, *, healthy=True, keep_telemetry=None):  # noqa: ARG002
        self.runs += 1
        folder = FOLDERS[0] / f"tree-{self.runs}"
        for path in set(self.repository.files(tree.revision)) | set(tree.overlay):
            content = read(self.repository, tree, path)
            if content is not None:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content)
        command = [sys.executable, "-I", "-B", "-c", f"import sys; sys.path[0] = {str(folder)!r}\nimport shop.app\n"]
        command[-1] += "print(shop.app.handle())"
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        said = done.stdout.strip()
        judgement = {"200": "good", "500": "bad"}.get(said, "unknown")
        return RunOutcome(judgement=judgement, reason=said or done.stderr[-200:])


FOLDERS = []
APP = "from .lib import old\n\n\ndef handle():\n    return old()\n"
LIB = "import os\n\nfrom .deep import BASE\n\n\ndef old():\n    return BASE + len(os.sep) - 1\n"
NEW = "def new():\n    return 500\n"


def history_of(tmp_path):
    FOLDERS[:] = [tmp_path]
    history = History(tmp_path / "repo")
    good = history.commit(
        "start", shop____init___py="", shop__app_py=APP, shop__lib_py=LIB + "\n\n" + NEW, shop__deep_py="BASE = 200\n"
    )
    culprit = history.commit("new", shop__app_py=APP.replace("old", "new"))
    bad = history.commit("nobody uses old", shop__lib_py=NEW, shop__deep_py=None)
    return history.repository(tmp_path / "scratch"), good, culprit, bad


def test_a_helper_that_was_removed_since_is_put_back_with_what_it_uses(tmp_path):
    repository, good, culprit, bad = history_of(tmp_path)
    proof = counterfactual(repository, Running(repository), culprit, good, bad)
    necessary = proof.counterfactual.necessary
    assert necessary.held is True, "\n".join(necessary.details)
    assert "with what it imports from shop/deep.py, shop/lib.py" in necessary.method
    assert any("what is imported moved alone: bad" in line for line in necessary.details)
    healed = proof.healing[0].tree.overlay
    assert set(healed) == {"shop/app.py", "shop/lib.py", "shop/deep.py"}
    assert b"def new" in healed["shop/lib.py"]


def test_a_part_is_lent_what_it_imports_at_home_too(tmp_path):
    history = History(tmp_path / "repo")
    good = history.commit("start", app_py="def handle():\n    return 200\n")
    history.commit("between", app_py="X = 1\n\n\ndef handle():\n    return 200\n")
    now = "from lib import new\n\nX = 1\n\n\ndef handle():\n    return new()\n"
    culprit = history.commit("rework", app_py=now, lib_py=NEW)
    repository = history.repository(tmp_path / "scratch")
    change = Change(repository, f"{culprit}^", culprit)
    part = [unit for unit in change.units if unit.path == "app.py"]
    found = list(styled(change, View(repository, Tree(revision=good)), part))
    lending = [attempt for attempt in found if "with what it imports from lib.py" in attempt.method]
    homes = [one.tree.overlay for attempt in lending for one in attempt.controls if one.expected == "as wanted"]
    assert homes
    assert all(overlay["lib.py"] == NEW.encode() for overlay in homes)


def test_nothing_is_lent_where_nothing_lacks_and_the_control_is_the_loan_alone(tmp_path):
    repository, good, culprit, bad = history_of(tmp_path)
    change = Change(repository, culprit, good)
    base = View(repository, Tree(revision=bad))
    assert loan(change, base) == {}
    assert loan(change, base.with_files({"shop/app.py": b"from .lib import unheard\nfrom os import sep\n"})) == {}
    wanted = loan(change, base.with_files({"shop/app.py": APP.encode()}))
    assert wanted == {"shop/lib.py": frozenset({"old"}), "shop/deep.py": frozenset()}
    assert set(give(change, base, wanted).tree.overlay) == {"shop/lib.py", "shop/deep.py"}


def test_a_module_that_makes_names_up_lacks_none():
    assert lacks(b"A = 1\n", "B")
    assert not lacks(b"A = 1\n", "A")
    assert not lacks(b"from x import *\n", "B")
    assert not lacks(b"def __getattr__(name): ...\n", "B")
    assert not lacks(b"def broken(\n", "B")


@given(st.sets(st.sampled_from("abcdef")), st.sets(st.sampled_from("abcdef")))
def test_what_is_bound_stays_and_what_is_offered_comes(present, wanted):
    content = "".join(f"{n} = 'here'\n" for n in sorted(present)).encode()
    source = b"a = b = 'there'\n\n\ndef c():\n    return a\n\n\ndef d():\n    return c()\n"
    space: dict[str, object] = {}
    exec(with_bound(content, set(wanted), source), space)
    assert all(space[name] == "here" for name in present)
    assert wanted & set("ab" if not present & set("ab") else "") <= space.keys()
    assert wanted & set("cd") <= space.keys()
