"""Whether two reproductions are the same test under other conditions, and what the conditions differ in.

For outcomes without a commit `healed/` must be `repro/` with the healthy value in place, and nothing else: a test that
always passes would show anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from butfor.errors import UserError
from butfor.evidence.verdicts import Outcome

CONDITIONS: dict[Outcome, frozenset[str]] = {
    "ConfigChange": frozenset({"services.environment"}),
    "Dependency": frozenset({"stubs"}),
    "Resource": frozenset({"services.limits", "services.run"}),
}
"""Per outcome without a commit, the parts of a plan that its intervention sets."""
MAXIMUM = 64 * 1024 * 1024
BODIES = "bodies/"


def foreign(repro: Path, healed: Path, outcome: Outcome) -> list[str]:
    """What differs between the two folders and is not what the outcome's intervention sets; empty where all is well.

    Raises UserError for a plan that cannot be read.
    """
    files = _files(repro), _files(healed)
    names = {*files[0], *files[1]} - {"plan.json"}
    apart = [name for name in sorted(names) if not name.startswith(BODIES) and files[0].get(name) != files[1].get(name)]
    plans = _plan(repro), _plan(healed)
    return apart + sorted(_differing(*plans) - CONDITIONS.get(outcome, frozenset()))


def differing(repro: Path, healed: Path) -> list[str]:
    """The parts of the plans that differ."""
    return sorted(_differing(_plan(repro), _plan(healed)))


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def _plan(folder: Path) -> dict[str, Any]:
    try:
        plan = json.loads((folder / "plan.json").read_bytes()[:MAXIMUM])
        services = {str(one["name"]): dict(one) for one in plan["services"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{folder.name}/plan.json is no plan; give the folder that butfor investigate wrote") from None
    return {**plan, "services": services}


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    found = {key for key in {*one, *other} - {"services"} if one.get(key) != other.get(key)}
    if {*one["services"]} != {*other["services"]}:
        return found | {"services"}
    for name, mine in one["services"].items():
        theirs = other["services"][name]
        found |= {f"services.{key}" for key in {*mine, *theirs} if mine.get(key) != theirs.get(key)}
    return found
