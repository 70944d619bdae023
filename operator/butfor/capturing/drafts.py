"""A draft service description from what a capture saw: a start for the user's own `butfor.yaml`."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections import Counter
from configparser import ConfigParser
from configparser import Error as ConfigError
from pathlib import Path

import yaml

from butfor.capturing.requirements import Requirements, normalised
from butfor.evidence.bundles import CapturedService
from butfor.evidence.requests import Payload

_NEVER_PINNED = frozenset({"pip", "wheel", "butfor", "butfor-inject"})
_PIP = "pip install -q --disable-pip-version-check"
_REQUIREMENT = re.compile(r"[\w.-]+(?:==[\w.!+-]+| @ [\w.!+/:@%=&?#~-]+)")
_PYTHON = re.compile(r"^python(?:\d(?:\.\d+)?)?$")
_HEALTH = re.compile(r"/(?:healthz?|ready|readyz|livez?|ping|status|-/versions\.json)$")
_ENVIRONMENT = re.compile(r"^[A-Za-z_]\w*=")


def draft(
    service: CapturedService, needed: Requirements, argv: list[str], payloads: list[Payload], *, root: Path,
    directory: Path, ports: set[int],
) -> str:  # fmt: skip
    """The text of a `butfor.yaml` for one captured service. `root` is the repository's, `directory` where it ran."""
    said: dict[str, object] = {"name": service.name}
    if directory != root and directory.is_relative_to(root):
        said["directory"] = str(directory.relative_to(root))
    here = (name for name, folder in needed.local.items() if folder == root)
    own = own_distribution(root) or next(here, "")
    setup = pins(needed.pins, own)
    if own in needed.local or own in needed.pins:
        setup = "\n".join([*([setup] if setup else []), f"{_PIP} --no-deps -e ."])
        said["setup_each_revision"] = True
    said |= {"setup": setup, "run": run(argv, root, ports), "ready": ready(payloads)}
    if (root / "tests").is_dir() and "pytest" in needed.pins:
        said["test"] = "python -m pytest -q -p no:cacheprovider"
    text = yaml.safe_dump({k: v for k, v in said.items() if v}, sort_keys=False, width=1000, allow_unicode=True)
    hint = "# test: python -m pytest -q\n" if "test" not in said and tested(root) else ""
    return "".join(f"# {line}\n" for line in _remarks(said, needed, own)) + text + hint


def tested(root: Path) -> bool:
    """Whether pytest would find tests: a folder `tests`, or `test_*.py` in the root."""
    return (root / "tests").is_dir() or any(root.glob("test_*.py"))


def _remarks(said: dict[str, object], needed: Requirements, own: str) -> list[str]:
    remarks = ["A draft that butfor capture wrote from what it saw; check it, then keep it in the repository."]
    if "$PORT" not in str(said["run"]):
        remarks.append("The port is not in the command: let the service listen on 127.0.0.1:$PORT.")
    remarks += [
        f"{name} was installed from {folder}: write where `setup` finds it."
        for name, folder in sorted(needed.local.items())
        if name != own
    ]
    if not (needed.pins or needed.local):
        remarks.append("No Python distributions were seen: write what `setup` needs to install.")
    remarks.append("Every field is explained in docs/service.md of Butfor; `test` needs pytest in `setup`.")
    remarks.append("`prepare` (data files in the empty folder $DATA) and `environment` are not known to capture.")
    return remarks


def run(argv: list[str], root: Path, ports: set[int]) -> str:
    """The command as a script: ports as $PORT, the repository as $WORKTREE, interpreters found on PATH."""
    words = []
    for n, word in enumerate(argv):
        if n == 0 and "/" in word and (_PYTHON.match(Path(word).name) or Path(word).parent.name == "bin"):
            words.append(Path(word).name)
            continue
        words.append(_word(word, root, ports))
    return " ".join(words) if words and "/" in words[0] else f"exec {' '.join(words)}"


def _word(word: str, root: Path, ports: set[int]) -> str:
    written = word.replace("${PORT}", "$PORT")
    if str(root) != "/":
        written = re.sub(rf"{re.escape(str(root))}(?=$|[/:,'\"\s])", "$WORKTREE", written)
    for port in sorted(ports):
        written = re.sub(rf"(?<![\d.]){port}(?![\d.])", "$PORT", written)
    if written == word and "$" not in word:
        return shlex.quote(word)
    if re.search(r"[\s;|&<>()`]", written):  # a script of its own: what bash is given keeps its own variables
        return shlex.quote(written) if "'" not in written else '"' + written.replace('"', '\\"') + '"'
    return f'"{written}"'


def pins(requirements: dict[str, str], own: str) -> str:
    """One pip command with exact versions, without the repository's own distribution."""
    kept = [
        shlex.quote(text)
        for name, text in sorted(requirements.items())
        if name not in _NEVER_PINNED | {own} and _REQUIREMENT.fullmatch(text)
    ]
    return f"{_PIP} " + " ".join(kept) if kept else ""


def own_distribution(root: Path) -> str:
    """The normalised name of the distribution that a repository makes; empty where it says none."""
    name = _from_pyproject(root / "pyproject.toml") or _from_setup_cfg(root / "setup.cfg")
    setup = root / "setup.py"
    if not name and setup.is_file():
        found = re.search(r"""\bname\s*=\s*["']([\w.-]+)["']""", setup.read_text("utf-8", "replace"))
        name = found.group(1) if found else ""
    return normalised(name)


def _from_pyproject(path: Path) -> str:
    try:
        read = tomllib.loads(path.read_text("utf-8", "replace"))
    except (OSError, tomllib.TOMLDecodeError):
        return ""
    tool = read.get("tool")
    poetry = tool.get("poetry") if isinstance(tool, dict) else None
    names = [table.get("name") for table in (read.get("project"), poetry) if isinstance(table, dict)]
    return next((name for name in names if isinstance(name, str)), "")


def _from_setup_cfg(path: Path) -> str:
    parser = ConfigParser(interpolation=None)
    try:
        parser.read(path, encoding="utf-8")
    except (ConfigError, UnicodeDecodeError):
        return ""
    return parser.get("metadata", "name", fallback="")


def ready(payloads: list[Payload]) -> dict[str, object]:
    """A GET that was answered well: one that looks like a health check, else the shortest of the frequent ones."""
    healthy = Counter(
        p.target
        for p in payloads
        if p.role != "client" and p.method == "GET" and p.status is not None and p.status < 300 and p.complete
        and "?" not in p.target and not any(n.lower() in {"authorization", "cookie"} for n, _ in p.request_headers)
    )  # fmt: skip
    if not healthy:
        return {}
    path = min(healthy, key=lambda t: (not _HEALTH.search(t), len(t), -healthy[t], t))
    status = next(p.status for p in payloads if p.target == path and p.status is not None and p.status < 300)
    return {"path": path, **({"expect_status": status} if status != 200 else {})}
