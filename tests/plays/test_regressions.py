"""Real services under their own load, at good and at bad, and what a play costs beside the service's own start.

Needs the folder of incidents in BUTFOR_REGRESSIONS and their repositories in BUTFOR_REPOS.
"""

import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from butfor.evidence.incidents import Incident
from butfor.evidence.plays import Plan, PlannedRequest, PlannedService
from butfor.evidence.runs import Tree
from butfor.ports.caches import cache_root
from butfor.ports.environments import Environments
from butfor.ports.plays import play
from butfor.ports.worktrees import Worktrees

CASES, REPOSITORIES = os.environ.get("BUTFOR_REGRESSIONS"), os.environ.get("BUTFOR_REPOS")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not (CASES and REPOSITORIES), reason="BUTFOR_REGRESSIONS and BUTFOR_REPOS are not set"),
]


class Case:
    """One incident: its first service, its load as planned requests, and what each request expects."""

    def __init__(self, name, box, folder):
        self.folder, self.box = folder, box
        self.path = Path(CASES) / name
        incident = Incident.model_validate(yaml.safe_load((self.path / "incident.yaml").read_text()))
        self.service = incident.services[0]
        repository = Path(REPOSITORIES) / self.service.repository.github.replace("/", "+")
        self.worktrees = Worktrees(repository, folder)
        self.environments = Environments(cache_root(), box, sys.executable)
        roles = [("before", r) for r in incident.load.before] + [("healthy", r) for r in incident.load.healthy]
        self.load = [(role, r) for role, r in [*roles, *(("failing", r) for r in incident.load.failing)]]

    def body(self, i, request):
        if request.body is None:
            return None
        content = request.body if isinstance(request.body, str) else json.dumps(request.body)
        for mark, fill in request.body_fill.items():
            content = content.replace(mark, fill.text * fill.times)
        path = self.folder / f"body-{i}"
        path.write_text(content)
        return path

    def plan(self, revision, **changes):
        worktree = self.worktrees.materialize(Tree(revision=revision), self.folder / f"tree-{revision[:12]}")
        environment = self.environments.get(self.service, worktree, log=self.folder / "setup.log")
        assert environment.path, environment.problem
        requests = [
            PlannedRequest(
                id=str(i), role=role, service=self.service.name, method=r.method, target=r.path,
                headers=list(r.headers.items()), body=self.body(i, r), timeout_s=r.timeout or 10, save=r.save,
            )
            for i, (role, r) in enumerate(self.load)
        ]  # fmt: skip
        planned = PlannedService(
            name=self.service.name, worktree=worktree, environment_path=environment.path, prepare=self.service.prepare,
            run=self.service.run, ready=self.service.ready, directory=self.service.directory, **changes,
        )  # fmt: skip
        return Plan(services=[planned], requests=requests, case=self.path)

    def behaves(self, answer):
        wanted = self.load[int(answer.id)][1]
        text = answer.body.read_text(errors="replace") if answer.body else ""
        return (
            answer.status == wanted.expect_status
            and answer.complete
            and all(part in text for part in wanted.expect_contains)
            and not any(part in text for part in wanted.expect_absent)
        )


@pytest.mark.parametrize(("edge", "inject"), [(False, False), (True, True)])
@pytest.mark.parametrize("name", ["starlette-file-download", "datasette-database-page"])
def test_a_real_service_behaves_at_good_and_fails_at_bad(best, tmp_path, name, edge, inject):
    case = Case(name, best, tmp_path)
    for revision, fails in ((case.service.good, False), (case.service.bad, True)):
        seen = play(case.plan(revision, edge=edge, inject=inject), sandbox=best, folder=tmp_path / "play")
        assert seen.started, seen.reason
        assert len(seen.answers) == len(case.load)
        for answer in seen.answers:
            assert case.behaves(answer) == (answer.role != "failing" or not fails), (revision, answer)
        if inject:
            assert any(f.startswith("<worktree>/") for f in seen.loaded_files[case.service.name])


def start_directly(case, plan, folder):
    """The service's own start and its requests, without a sandbox, copy or record; in seconds."""
    service, data = plan.services[0], folder / "data"
    data.mkdir(parents=True)
    env = {"PATH": f"{service.environment_path}/bin:/usr/bin:/bin", "PORT": "18477", "DATA": str(data),
           "WORKTREE": str(service.worktree), "CASE": str(case.path), "PYTHONDONTWRITEBYTECODE": "1",
           "HOME": str(folder)}  # fmt: skip
    begin = time.monotonic()
    subprocess.run(["bash", "-e", "-c", service.prepare], env=env, cwd=service.worktree, check=True)
    process = subprocess.Popen(
        ["bash", "-e", "-c", service.run], env=env, cwd=service.worktree, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while ask(18477, "GET", service.ready.path, None, {}) != service.ready.expect_status:
            time.sleep(0.005)
        for request in plan.requests:
            content = request.body.read_bytes() if request.body else None
            ask(18477, request.method, request.target, content, dict(request.headers))
        return time.monotonic() - begin
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ask(port, method, target, body, headers):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        answer.read()
    except (OSError, http.client.HTTPException):
        return None
    else:
        return answer.status
    finally:
        connection.close()


@pytest.mark.parametrize("name", ["starlette-file-download", "datasette-database-page"])
def test_a_play_costs_little_beside_the_services_own_start(best, tmp_path, name):
    case = Case(name, best, tmp_path)
    bare = case.plan(case.service.good, inject=False)
    recorded = bare.model_copy(update={"services": [bare.services[0].model_copy(update={"inject": True})]})
    direct, plain, injected = [], [], []
    for i in range(5):
        direct.append(start_directly(case, bare, tmp_path / f"direct-{i}"))
        for plan, times in ((bare, plain), (recorded, injected)):
            begin = time.monotonic()
            seen = play(plan, sandbox=best, folder=tmp_path / "play")
            times.append(time.monotonic() - begin)
            assert seen.started, seen.reason
    own, whole, whole_injected = (statistics.median(times) for times in (direct, plain, injected))
    print(f"{name}: own {own:.2f} s, play {whole:.2f} s ({whole / own:.2f}x), injected {whole_injected / own:.2f}x")
    assert whole <= 1.5 * own + 0.1  # the tenth is the slack of a busy machine
