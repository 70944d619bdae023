"""`repro/run` gives a service the small disk that its failure needs, and says so where it cannot."""

import json
import shutil
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from types import SimpleNamespace

import pytest

from butfor.reproducing.files import TEMPLATES

FILL = 'head -c 3000000 /dev/zero > "$1/data/full"; echo ended $?; echo some > "$1/worktree"'


@pytest.fixture
def run(tmp_path, monkeypatch):
    def make(**service):
        shutil.copy(TEMPLATES / "run.txt", tmp_path / "run")
        service = {"name": "web", "limits": {}, **service}
        (tmp_path / "plan.json").write_text(json.dumps({"services": [service]}))
        loader = SourceFileLoader("repro_run", str(tmp_path / "run"))
        module = module_from_spec(spec_from_loader(loader.name, loader))
        loader.exec_module(module)
        monkeypatch.setenv("REPRO_CACHE", str(tmp_path / "cache"))
        return module, module.Run(SimpleNamespace(python=None), tmp_path)

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return make


def filled(run, tmp_path):
    argv = ["bash", "-c", 'mkdir -p "$1/data"; ' + FILL, "fill", "/srv/web"]
    code = run.execute(argv, {}, {}, "/", {}, 60, False, run.disks())
    return code, (tmp_path / "log").read_text()


def test_the_disk_of_a_service_can_be_filled_and_the_rest_is_writable(run, tmp_path):
    _, one = run(limits={"disk_mb": 1})
    if one.sandbox.kind == "none":
        pytest.skip("bubblewrap does not work here")
    code, said = filled(one, tmp_path)
    assert (code, "No space left" in said, "ended 0" in said) == (0, True, False)


@pytest.mark.parametrize("service", [{}, {"limits": {"disk_mb": 1}, "lift_limits": True}])
def test_without_a_limit_it_is_as_large_as_memory_allows(run, tmp_path, service):
    _, one = run(**service)
    if one.sandbox.kind == "none":
        pytest.skip("bubblewrap does not work here")
    assert filled(one, tmp_path)[1].endswith("ended 0\n")


def test_without_bubblewrap_it_cannot_tell(run):
    module, one = run(limits={"disk_mb": 3})
    one.sandbox.kind = "none"
    with pytest.raises(module.Stop, match="a disk of 3 MB: install bubblewrap") as told:
        one.disks()
    assert told.value.code == 125
