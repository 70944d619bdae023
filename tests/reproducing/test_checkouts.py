"""Trees are checked out while the sandbox starts; whoever looks at one before that waits for it."""

import pytest

from butfor.errors import UserError
from butfor.evidence.predicates import FailurePredicate
from butfor.evidence.reproductions import PlanParts
from butfor.evidence.runs import Tree
from butfor.evidence.services import Ready, ServiceDescription
from butfor.ports.benches import Bench
from butfor.reproducing import LocalRunner, Workshop

from . import planted

PARTS = PlanParts(service="web", requests=[])


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "history"
    folder.mkdir()
    planted.git(folder, "init", "-q")
    (folder / "server.py").write_text("pass\n")
    planted.git(folder, "add", ".")
    planted.git(folder, "commit", "-qm", "one")
    return folder


@pytest.fixture
def commit(source):
    return planted.git(source, "rev-parse", "HEAD").strip()


@pytest.fixture
def workshop(source, tmp_path):
    tmp_path.chmod(0o755)
    return Workshop(Bench.of_this_machine(), {"web": source}, tmp_path / "scratch")


def described(setup="", **more):
    return ServiceDescription(name="web", good="HEAD", bad="HEAD", setup=setup, run="true", ready=Ready(), **more)


def test_a_tree_is_complete_when_it_is_ready(workshop, commit):
    planned = workshop.planned(described(), Tree(revision=commit), wait=False)
    workshop.ready()
    assert (planned.worktree / "server.py").exists()
    assert workshop.waiting == []


def test_a_tree_that_is_waited_for_is_complete(workshop, commit):
    tree = Tree(revision=commit)
    begun = workshop.planned(described(), tree, wait=False)
    assert workshop.planned(described(), tree) == begun
    assert (begun.worktree / "server.py").exists()


@pytest.mark.slow
def test_a_setup_that_reads_the_tree_finds_it_complete(workshop, commit):
    setup = 'grep -q pass "$WORKTREE/server.py"'
    planned = workshop.planned(described(setup), Tree(revision=commit), wait=False)
    assert planned.environment_path is not None
    assert (planned.worktree / "server.py").exists()


def test_a_tree_that_cannot_be_had_is_told_and_not_kept(workshop):
    tree = Tree(revision="1" * 40)
    workshop.planned(described(), tree, wait=False)
    with pytest.raises(UserError, match="not in"):
        workshop.ready()
    with pytest.raises(UserError, match="not in"):
        workshop.planned(described(), tree)


def test_forgetting_a_tree_in_the_making_leaves_nothing(workshop, commit):
    planned = workshop.planned(described(), Tree(revision=commit), wait=False)
    workshop.forget(0)
    assert not planned.worktree.exists()
    assert not list(workshop.scratch.glob("clone-*/worktrees.git/worktrees/*"))


def test_a_run_of_a_revision_that_is_not_there_says_so(workshop):
    predicate = FailurePredicate(service="web", method="GET", route="/", status=500)
    runner = LocalRunner([described()], PARTS, predicate, workshop, frozenset({"web"}))
    with pytest.raises(UserError, match="not in"):
        runner.run(Tree(revision="1" * 40))
