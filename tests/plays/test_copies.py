"""Trees are copied while the player is loaded; what goes wrong is told where the copy is needed."""

import pytest

from butfor.ports.players import copies, services


def service(tmp_path, **plan):
    plan = {"name": "web", "worktree": str(tmp_path / "worktree"), "data": str(tmp_path / "data"), **plan}
    (tmp_path / "logs").mkdir(exist_ok=True)
    return services.Service(plan, str(tmp_path), 1, 1)


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source" / "app").mkdir(parents=True)
    (tmp_path / "source" / "app" / "main.py").write_text("pass\n")
    return tmp_path / "source"


def test_what_the_environment_names_is_copied_ahead(tmp_path, source, monkeypatch):
    line = "\t".join(["web", str(tmp_path / "data"), str(tmp_path / "worktree"), str(source)])
    monkeypatch.setenv(copies.VARIABLE, line)
    copies.begin()
    service(tmp_path).copy_worktree()  # its plan names no tree: only the copy that was begun can have made it
    assert (tmp_path / "worktree" / "app" / "main.py").read_text() == "pass\n"
    assert (tmp_path / "data").is_dir()
    assert copies.begun == {}


def test_without_it_the_service_copies_its_trees_itself(tmp_path, source):
    service(tmp_path, source=str(source), artifacts=None).copy_worktree()
    assert (tmp_path / "worktree" / "app" / "main.py").exists()


def test_why_a_copy_failed_is_told(tmp_path):
    with pytest.raises(services.NotStarted, match=r"worktree of web cannot be copied: .*No such file") as told:
        service(tmp_path, source=str(tmp_path / "nowhere")).copy_worktree()
    assert told.value.infrastructure
