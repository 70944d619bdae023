"""Writing `repro/`: a plain pytest file, its plan and bodies, the code it needs, and `run`.

What is written imports nothing of butfor: `support/` holds copies of the standard-library modules that judge and
play here too, so that the file keeps working where butfor is not installed.
"""

from __future__ import annotations

import hashlib
import json
import os
import pprint
import shutil
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from butfor.errors import UserError
from butfor.evidence.plays import PlannedRequest, StubAnswer
from butfor.evidence.predicates import FailurePredicate
from butfor.evidence.reproductions import Expectation, Reproduction
from butfor.evidence.services import ServiceDescription
from butfor.ports import players
from butfor.reproducing import plain
from butfor.reproducing.assembling import START_TIMEOUT_S, deadline, replayed
from butfor.reproducing.runners import LocalRunner

TEMPLATES = Path(__file__).parent / "templates"
CASE_LIMIT = 64 * 1024 * 1024
_NOT_OF_THE_CASE = shutil.ignore_patterns("truth.yaml", "incident.yaml", ".git", "out")


def write(reproduction: Reproduction, runner: LocalRunner, out: Path, *, good: str, bad: str) -> Path:
    """Write the folder `out` (replaced as a whole) and return it. UserError where nothing was reproduced."""
    if reproduction.parts is None or reproduction.predicate is None:
        raise UserError(f"there is no reproduction to write: {reproduction.reason}")
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    (part / "bodies").mkdir(parents=True)
    plan = _plan(reproduction, runner, part, good, bad)
    (part / "plan.json").write_text(json.dumps(plan, indent=1, sort_keys=True), "utf-8")
    (part / "test_reproduction.py").write_text(_test(reproduction, reproduction.predicate, good, bad), "utf-8")
    shutil.copyfile(TEMPLATES / "run.txt", part / "run")
    (part / "run").chmod(0o755)
    _support(part / "support")
    if reproduction.parts.case is not None and plan["uses_case"]:
        _copy_case(reproduction.parts.case, part / "case")
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)
    return out


def _plan(reproduction: Reproduction, runner: LocalRunner, folder: Path, good: str, bad: str) -> dict[str, Any]:
    parts = reproduction.parts
    assert parts is not None
    assert reproduction.predicate is not None
    played = [one for one in runner.services if one.name not in parts.stubbed]
    ordered = [one for one in parts.requests if one.role == "before"]
    ordered += [one for one in parts.requests if one.role != "before"]
    stubs = {name: [_with_body(one, folder) for one in some] for name, some in replayed(parts, ordered).items()}
    return {
        "schema_version": 1, "good": good, "bad": bad, "renames": dict(runner.renames),
        "predicate": {**reproduction.predicate.model_dump(mode="json"), "repeat": parts.repeat > 1},
        "expected": [one.model_dump(mode="json") for one in reproduction.expected],
        "services": [_service(one, runner, played) for one in played],
        "requests": [_with_body(one, folder) for one in ordered], "stubs": stubs,
        "concurrency": parts.concurrency, "repeat": parts.repeat, "seed": parts.seed,
        "deadline_s": deadline(parts, len(played)), "start_timeout_s": START_TIMEOUT_S,
        "uses_case": any("CASE" in script for one in played for script in (one.setup, one.prepare, one.run)),
    }  # fmt: skip


def _service(one: ServiceDescription, runner: LocalRunner, played: list[ServiceDescription]) -> dict[str, Any]:
    suspected = one.name in runner.suspects
    histories = runner.workshop.histories
    main = next((histories.get(other.name) for other in played if other.name in runner.suspects), None)
    return {
        "name": one.name, "suspected": suspected, "revision": one.revision or one.bad or "HEAD",
        "same_repository": histories.get(one.name) == main, "directory": one.directory, "setup": one.setup,
        "setup_each_revision": one.setup_each_revision, "prepare": one.prepare, "run": one.run,
        "ready": one.ready.model_dump(), "environment": one.environment, "limits": getattr(one, "limits", {}),
        "inject": True, "edge": False,
    }  # fmt: skip


def _with_body(one: PlannedRequest | StubAnswer, folder: Path) -> dict[str, Any]:
    """Return the request or answer as JSON, its body copied to `bodies/<sha256>`."""
    facts = one.model_dump(mode="json")
    if one.body is not None:
        content = one.body.read_bytes()
        facts["body"] = f"bodies/{hashlib.sha256(content).hexdigest()}"
        (folder / facts["body"]).write_bytes(content)
    return facts


def _test(reproduction: Reproduction, predicate: FailurePredicate, good: str, bad: str) -> str:
    """Return the test file; everything captured goes in as Python literals, so that it cannot become code."""
    expected = {one.id: one for one in reproduction.expected}
    requests = reproduction.parts.requests if reproduction.parts else []
    lines = [(one.role, one.method, one.target[:200], _says(expected.get(one.id))) for one in requests]
    facts: Mapping[str, Any] = {
        "@SERVICE@": predicate.service, "@GOOD@": good, "@BAD@": bad, "@FAILURE@": _failure(predicate),
        "@REQUESTS@": lines,
    }  # fmt: skip
    text = (TEMPLATES / "test_reproduction.py.txt").read_text("utf-8")
    for mark, value in facts.items():
        text = text.replace(mark, pprint.pformat(value, width=100, sort_dicts=False))
    return text


def _says(expected: Expectation | None) -> str:
    if expected is None:
        return "anything"
    kind = expected.headers.get("content-type", "").split(";")[0]
    return f"{expected.status} {kind}".strip()


def _failure(predicate: FailurePredicate) -> dict[str, Any]:
    """Return the predicate's parts that are set, the way a person reads them."""
    facts = predicate.model_dump(mode="json", exclude={"service", "evidence"}, exclude_none=True)
    return {name: value for name, value in facts.items() if value not in ([], {}, "")}


def _support(folder: Path) -> None:
    """Copy the standard-library code that plays and judges."""
    folder.mkdir()
    source = Path(str(plain.__file__)).parent
    for name in ("answers.py", "judging.py", "proofs.py", "tracebacks.py", "tracing.py"):
        shutil.copyfile(source / name, folder / name)
    (folder / "__init__.py").write_text('"""What the reproduction plays and judges with; standard library only."""\n')
    shutil.copyfile(TEMPLATES / "plays.py.txt", folder / "plays.py")
    _copy_package(Path(str(players.__file__)).parent, folder / "players")
    found = find_spec("butfor_inject")
    if found is not None and found.origin:
        _copy_package(Path(found.origin).parent, folder / "inject" / "butfor_inject")


def _copy_package(source: Path, target: Path) -> None:
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))


def _copy_case(source: Path, target: Path) -> None:
    """Copy what the scripts may read of the case's folder; refuse what is too large for a test to carry."""
    size = sum(os.lstat(Path(parent, name)).st_size for parent, _, names in os.walk(source) for name in names)
    if size > CASE_LIMIT:
        raise UserError(f"the case's folder {source} has {size} bytes; a reproduction carries at most {CASE_LIMIT}")
    shutil.copytree(source, target, ignore=_NOT_OF_THE_CASE, symlinks=True)
