"""Incidents are written whole, the same each time, and as ordinary ones."""

import ast
import subprocess

import pytest

from butfor.demo import incidents
from butfor.errors import InfrastructureError, UserError
from butfor.evaluating.incidents import find_cases, read_incident, read_truth

COMMITS = {name: incidents.shop_commits(name) for name in incidents.NAMES}


def git(case, *arguments, history="shop"):
    command = ["git", "-C", str(case / "history" / f"{history}.git"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return {case.name: case for case in incidents.materialize(tmp_path_factory.mktemp("incidents"))}


def test_the_default_is_one_of_the_names(cases):
    assert incidents.DEFAULT in incidents.NAMES
    assert sorted(cases) == sorted(incidents.NAMES)
    assert [case.name for case in find_cases(cases[incidents.DEFAULT].parent)] == sorted(cases)


def test_shas_are_the_same_each_time_whatever_the_user_configured(cases, tmp_path, monkeypatch):
    configuration = tmp_path / "gitconfig"
    configuration.write_text("[user]\nname = X\n[core]\nautocrlf = true\n[init]\ndefaultObjectFormat = sha256\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(configuration))
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("TZ", "Pacific/Auckland")
    again = {case.name: case for case in incidents.materialize(tmp_path / "again")}
    monkeypatch.delenv("GIT_DIR")
    for name, case in cases.items():
        assert (again[name] / "truth.yaml").read_bytes() == (case / "truth.yaml").read_bytes()
        for history in ("shop", "provider"):
            assert git(again[name], "show-ref", history=history) == git(case, "show-ref", history=history)


@pytest.mark.parametrize("name", incidents.NAMES)
def test_a_history_of_months_with_the_culprit_inside(cases, name):
    case, truth = cases[name], read_truth(cases[name])
    assert int(git(case, "rev-list", "--count", "v1.2.3")) >= 40
    between = git(case, "rev-list", "v1.2.2..v1.2.3").split()
    assert len(between) >= 20
    assert git(case, "rev-list", "--merges", "v1.2.2..v1.2.3")
    assert git(case, "fsck", "--strict") == ""
    assert (truth.culprit in between) == (truth.outcome == "CodeChange")
    assert truth.outcome != "CodeChange" or set(truth.files) <= set(changed(case, truth.culprit))


def changed(case, sha):
    return git(case, "diff", "--name-only", f"{sha}^", sha).split()


@pytest.mark.parametrize("name", incidents.NAMES)
def test_histories_differ_from_the_culprit_on_only(cases, name):
    culprit = read_truth(cases[name]).culprit
    clean = set(git(cases["shop-open-files"], "rev-list", "v1.2.3").split())
    assert culprit not in clean
    if culprit:
        assert set(git(cases[name], "rev-parse", f"{culprit}^").split()) <= clean
        # the fault is a few lines, and nothing that is said about the commit differs
        messages = [git(cases[case], "log", "--format=%an %at %B", "v1.2.3") for case in (name, "shop-open-files")]
        assert messages[0] == messages[1]


@pytest.mark.parametrize("name", incidents.NAMES)
def test_incidents_are_ordinary_ones(cases, name):
    incident, truth = read_incident(cases[name]), read_truth(cases[name])
    names = {service.name for service in incident.services}
    requests = [
        *incident.load.healthy,
        *incident.load.failing,
        *([truth.second_request] if truth.second_request else []),
    ]
    assert {request.service for request in requests} | {incident.symptom.service} <= names
    assert all(request.expect_status for request in requests)
    tree = COMMITS[name][-1].tree
    assert set(truth.files) <= set(tree)
    defined = {node.name for file in truth.files if file.endswith(".py") for node in ast.walk(ast.parse(tree[file]))
               if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))}  # fmt: skip
    assert {function.rpartition(".")[2] for function in truth.functions} <= defined


@pytest.mark.parametrize("name", incidents.NAMES)
def test_every_commit_holds_programs_that_can_be_read(name):
    for made in COMMITS[name]:
        for path, text in made.tree.items():
            assert not path.endswith(".py") or ast.parse(text, path)


def test_a_folder_that_is_there_is_replaced(cases, tmp_path):
    (case,) = incidents.materialize(tmp_path, ["shop-timeout"])
    (case / "truth.yaml").write_text("outcome: Resource")
    (case / "more").touch()
    assert incidents.materialize(tmp_path, ["shop-timeout"]) == [case]
    assert (case / "truth.yaml").read_bytes() == (cases["shop-timeout"] / "truth.yaml").read_bytes()
    assert sorted(one.name for one in tmp_path.iterdir()) == ["shop-timeout"]
    assert not (case / "more").exists()


def test_an_unknown_name_and_a_place_that_is_no_folder_are_one_line(tmp_path):
    with pytest.raises(UserError, match="no incident shop-x; there are: shop-iceland"):
        incidents.materialize(tmp_path, ["shop-timeout", "shop-x"])
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        incidents.materialize(tmp_path / "file")


def test_without_git_nothing_is_left(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(InfrastructureError, match="install git"):
        incidents.materialize(tmp_path / "target")
    assert list((tmp_path / "target").iterdir()) == []
