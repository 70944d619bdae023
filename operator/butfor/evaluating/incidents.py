"""Reading incident folders; bad input is one clear line."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from butfor.errors import UserError
from butfor.evidence.incidents import Incident, Truth

Model = TypeVar("Model", bound=BaseModel)
MAXIMUM_MANIFEST = 4 * 1024 * 1024


def find_cases(folder: Path, only: list[str] | None = None) -> list[Path]:
    """Folders with an `incident.yaml`: `folder` itself or its children, sorted by name."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; give a folder of incidents")
    cases = (
        [folder] if (folder / "incident.yaml").is_file() else sorted(p.parent for p in folder.glob("*/incident.yaml"))
    )
    chosen = [case for case in cases if not only or case.name in only]
    missing = set(only or []) - {case.name for case in chosen}
    if missing or not chosen:
        known = ", ".join(case.name for case in cases) or "none"
        raise UserError(f"no incident {', '.join(sorted(missing)) or 'found'} in {folder}; there are: {known}")
    return chosen


def read_incident(case: Path) -> Incident:
    """The incident of a folder."""
    return read_model(case / "incident.yaml", Incident)


def read_truth(case: Path) -> Truth | None:
    """The truth, for the scorer alone; None where there is none."""
    path = case / "truth.yaml"
    return read_model(path, Truth) if path.is_file() else None


def read_model(path: Path, model: type[Model]) -> Model:
    """A YAML file as a model, or a UserError that names the first thing that is wrong with it."""
    try:
        if path.stat().st_size > MAXIMUM_MANIFEST:
            raise UserError(f"{path} is larger than {MAXIMUM_MANIFEST} bytes; that is no manifest")
        content = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"cannot read {path}: {str(error).splitlines()[0]}") from error
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "top level"
        raise UserError(f"{path}: {where}: {first['msg']}") from error
