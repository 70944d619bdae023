"""Whole incidents, from capture to a scored verdict; each is evaluated once in a session."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from butfor.evaluating.evaluations import Settings, evaluate
from butfor.investigating.progress import Silent

from . import incidents


@dataclass(frozen=True)
class Evaluated:
    """The row of an evaluation, the verdict, and the folder that both came from."""

    case: Path
    row: dict[str, Any]
    verdict: dict[str, Any]

    @property
    def out(self) -> Path:
        """The verdict's folder."""
        return Path(self.row["verdict"]).parent


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory):
    """A function from an incident's name to what evaluating it gave."""
    known: dict[str, Evaluated] = {}

    def once(name: str) -> Evaluated:
        if name not in known:
            base = tmp_path_factory.mktemp(name)
            base.chmod(0o711)
            case = incidents.CASES[name](base / name)
            row = evaluate(case, Settings(out=base / "out"), Silent())
            assert row["error"] is None, row["error"]
            known[name] = Evaluated(case, row, json.loads(Path(row["verdict"]).read_text("utf-8")))
        return known[name]

    return once
