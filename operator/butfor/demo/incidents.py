"""Writing the demo's incidents as folders: incident.yaml, truth.yaml, history/."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from butfor.demo.importing import write_history
from butfor.demo.replays import Made, replay
from butfor.demo.steps import read_steps
from butfor.errors import UserError

_HERE = files("butfor.demo")
NAMES = tuple(
    sorted(entry.name.removesuffix(".yaml") for entry in (_HERE / "scenes").iterdir() if entry.name.startswith("shop-"))
)
DEFAULT = "shop-timeout"
_HIDDEN = {".gitignore": "gitignore"}


def materialize(target: Path, names: Sequence[str] | None = None) -> list[Path]:
    """Write incident folders into `target`, each whole or not at all, and return them; all of NAMES by default.

    A folder that is there already is replaced. Raises UserError for a name that is not in NAMES or a target that
    cannot be written, InfrastructureError where git fails.
    """
    chosen = list(NAMES if names is None else names)
    for name in chosen:
        if name not in NAMES:
            raise UserError(f"there is no incident {name}; there are: {', '.join(NAMES)}")
    try:
        target.mkdir(parents=True, exist_ok=True)
        return [_materialized(target, name) for name in chosen]
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}; give another folder") from error


def _materialized(target: Path, name: str) -> Path:
    with tempfile.TemporaryDirectory(dir=target, prefix=".making-") as scratch:
        made = Path(scratch) / name
        (made / "history").mkdir(parents=True)
        commits = shop_commits(name)
        shas = write_history(commits, made / "history" / "shop.git")
        write_history(provider_commits(), made / "history" / "provider.git")
        culprit = next((shas[one.number] for one in commits if one.planted), None)
        _write(made / "incident.yaml", _incident(name))
        _write(made / "truth.yaml", _scene(name)["truth"] | {"culprit": culprit})
        if (target / name).exists():
            shutil.rmtree(target / name)
        return made.rename(target / name)


def shop_commits(incident: str) -> list[Made]:
    """The shop's history in an incident, oldest first; at most one of its commits is planted."""
    texts = [_text(f"histories/{part}.txt") for part in ("shop-1-beginnings", "shop-2-towards-1.2.3")]
    return list(replay(read_steps("\n".join(texts)), lambda path: _file("shop", path), incident))


def provider_commits() -> list[Made]:
    """The provider's history; it is the same in every incident."""
    return list(replay(read_steps(_text("histories/provider.txt")), lambda path: _file("provider", path), ""))


def _incident(name: str) -> dict[str, Any]:
    """The whole of incident.yaml: the services that every incident has, and what is the incident's own."""
    scene = _scene(name)
    services = yaml.safe_load(_text("scenes/services.yaml"))["services"]
    own = scene.get("services") or {}
    return {
        "id": name,
        "title": scene["title"],
        "services": [service | own.get(service["name"], {}) for service in services],
        "load": scene["load"],
        "symptom": scene["symptom"],
    }


def _scene(name: str) -> dict[str, Any]:
    scene: dict[str, Any] = yaml.safe_load(_text(f"scenes/{name}.yaml"))
    return scene


def _file(repository: str, path: str) -> str:
    """The content of an added file. They lie here with `.txt` at their end, so that nobody takes them for ours."""
    return _text(f"files/{repository}/{_HIDDEN.get(path, path)}.txt")


def _text(path: str) -> str:
    return _HERE.joinpath(*path.split("/")).read_text("utf-8")


def _write(path: Path, content: dict[str, Any]) -> None:
    text = yaml.safe_dump(content, sort_keys=False, width=120, allow_unicode=True)
    path.write_text(text, "utf-8")
