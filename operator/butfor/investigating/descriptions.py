"""Finding out how a service is started: `butfor.yaml` in the repository, or the draft that capture wrote."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import ValidationError

from butfor.errors import UserError
from butfor.evidence.services import ServiceDescription
from butfor.ingesting.bundles import open_bundle
from butfor.ports.repositories import Repository

FILE = "butfor.yaml"
MAXIMUM = 1024 * 1024


def find_descriptions(bundle: Path | None, repo: Path, bad: str, scratch: Path) -> list[ServiceDescription]:
    """The repository's own description at bad, else the bundle's draft; empty where there is neither.

    The file holds one service, or a list under `services`.
    """
    with Repository(repo, scratch) as repository:
        own = repository.show(repository.resolve(bad), FILE)
    if own is not None:
        return parse(own, f"{FILE} in the repository at {bad}")
    if bundle is None:
        return []
    draft = open_bundle(bundle).path / FILE
    if draft.is_file() and draft.stat().st_size <= MAXIMUM:
        return parse(draft.read_bytes(), str(draft))
    return []


def parse(content: bytes, where: str) -> list[ServiceDescription]:
    """Descriptions from YAML, or a UserError that names what is wrong."""
    try:
        loaded = yaml.safe_load(content[:MAXIMUM].decode("utf-8"))
    except (UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise UserError(f"{where} is not readable YAML: {str(error).splitlines()[0]}") from error
    entries = loaded.get("services", [loaded]) if isinstance(loaded, dict) else loaded
    if not isinstance(entries, list) or not entries:
        raise UserError(f"{where} describes no service; it needs at least `name` and `run`")
    try:
        return [ServiceDescription.model_validate(entry) for entry in entries]
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
