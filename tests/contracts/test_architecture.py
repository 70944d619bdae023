"""ARCHITECTURE.md and README.md stay true: every module and file they name exists."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = ("ARCHITECTURE.md", "README.md")


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_module_it_names_exists(document):
    named = set(re.findall(r"`(butfor(?:_inject|_agent)?(?:\.(?!yaml)[a-z_]+)*)`", (ROOT / document).read_text()))
    for name in sorted(named):
        assert importlib.import_module(name)


def test_every_room_is_named():
    rooms = {path.parent.name for path in (ROOT / "operator/butfor").glob("*/__init__.py")}
    text = (ROOT / "ARCHITECTURE.md").read_text()
    assert {room for room in rooms if f"`butfor.{room}`" not in text} == set()


def test_no_python_file_shadows_the_standard_library():
    assert not list((ROOT / "operator").glob("*.py"))
    assert not list((ROOT / "agent").glob("*.py"))


def test_continuous_integration_calls_the_readmes_test_command():
    assert "make test" in (ROOT / ".ci/run").read_text()
    assert "make test" in (ROOT / "README.md").read_text()
