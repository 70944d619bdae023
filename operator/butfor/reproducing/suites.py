"""Running a service's own tests in the sandbox, with pytest's report where it is pytest that runs."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

from butfor.errors import InfrastructureError
from butfor.evidence.plays import PlannedService
from butfor.evidence.runs import SuiteOutcome
from butfor.ports.benches import Bench
from butfor.ports.environments import environment_inside, worktree_inside
from butfor.ports.sandboxes import Limits

REPORT_LIMIT = 64 * 1024 * 1024
LOG_TAIL = 6000


def run_suite(
    service: PlannedService, script: str, bench: Bench, folder: Path, timeout_s: float, *,
    environments: Mapping[str, Path] | None = None, worktrees: Mapping[str, Path] | None = None,
) -> SuiteOutcome:  # fmt: skip
    """Run `script` (bash -e) in the service's worktree, which it may write to. A cut-off run has exit code -1.

    `environments` and `worktrees` of other services, by name, are shown to it as `VENV_<NAME>` and `WORKTREE_<NAME>`.
    """
    sandbox = bench.sandbox
    report, data = folder / "report", folder / "data"
    tree = sandbox.inside(service.worktree, worktree_inside(service.name))
    out, inside_data = sandbox.inside(report, "/srv/report"), sandbox.inside(data, "/srv/data")
    binds, path = dict(bench.environments.interpreter.binds()), "/usr/local/bin:/usr/bin:/bin"
    env = {
        "PYTEST_ADDOPTS": f"--junitxml={out}/junit.xml", "WORKTREE": tree, "DATA": inside_data,
        "PYTHONDONTWRITEBYTECODE": "1", **service.environment,
    }  # fmt: skip
    if service.environment_path is not None:
        venv = sandbox.inside(service.environment_path, environment_inside(service.name))
        binds[service.environment_path] = venv
        env |= {"VIRTUAL_ENV": venv, "PATH": f"{venv}/bin:{path}"}
    for name, path_of in (environments or {}).items():
        env[f"VENV_{_upper(name)}"] = binds[path_of] = sandbox.inside(path_of, environment_inside(name))
    for name, path_of in (worktrees or {}).items():
        env[f"WORKTREE_{_upper(name)}"] = binds[path_of] = sandbox.inside(path_of, f"/srv/.play/sources/{name}")
    log = folder / "suite.log"
    try:
        done = sandbox.run(
            ["bash", "-e", "-o", "pipefail", "-c", script], env=env, cwd=f"{tree}/{service.directory}", stdout=log,
            read_only=binds, writable={service.worktree: tree, report: out, data: inside_data},
            limits=Limits(seconds=timeout_s),
        )  # fmt: skip
    except InfrastructureError as error:
        return SuiteOutcome(exit_code=-1, log_tail=str(error))
    tail = _tail(log)
    if done.cut:
        return SuiteOutcome(
            exit_code=-1, tests=read_report(report / "junit.xml"), log_tail=f"cut off: {done.cut}\n{tail}"
        )
    return SuiteOutcome(exit_code=done.code, tests=read_report(report / "junit.xml"), log_tail=tail)


def _upper(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name).upper()


def read_report(path: Path) -> dict[str, str]:
    """Return the outcome per test id of a JUnit report: passed, failed, error or skipped; {} if unreadable."""
    if path.is_symlink() or not path.is_file() or path.stat().st_size > REPORT_LIMIT:
        return {}
    try:
        root = ET.parse(path).getroot()  # noqa: S314 - expat bounds entity expansion itself
    except ET.ParseError:
        return {}
    return {f"{case.get('classname', '')}::{case.get('name', '')}": _outcome(case) for case in root.iter("testcase")}


def _outcome(case: ET.Element) -> str:
    for tag, outcome in (("failure", "failed"), ("error", "error"), ("skipped", "skipped")):
        if case.find(tag) is not None:
            return outcome
    return "passed"


def _tail(log: Path) -> str:
    if not log.is_file():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LOG_TAIL))
        return file.read(LOG_TAIL).decode("utf-8", "replace")
