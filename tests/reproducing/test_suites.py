"""The suspected service's own tests run, and are told where the other services' environments are."""

from pathlib import Path
from types import SimpleNamespace

from butfor.evidence.plays import PlannedService
from butfor.evidence.services import ServiceDescription
from butfor.reproducing.runners import suspected
from butfor.reproducing.suites import run_suite


class Sandbox:
    """Maps every path and keeps how it was run."""

    def inside(self, _host, wanted):
        return wanted

    def run(self, _argv, **how):
        self.how = how
        return SimpleNamespace(code=0, cut="")


def test_the_failing_services_tests_are_the_ones_that_run():
    services = [ServiceDescription(name=name, run="serve") for name in ("stock", "desk", "bank")]
    both = frozenset({"stock", "desk"})
    assert suspected(services, both, "desk").name == "desk"
    assert suspected(services, both, "bank").name == "stock"


def test_a_suite_sees_the_environments_of_the_services_beside_it(tmp_path):
    sandbox = Sandbox()
    bench = SimpleNamespace(sandbox=sandbox, environments=SimpleNamespace(interpreter=SimpleNamespace(binds=dict)))
    service = PlannedService(name="desk", worktree=tmp_path, environment_path=Path("/e/desk"), directory="d", run="x")
    outcome = run_suite(
        service, "pytest", bench, tmp_path, 5, environments={"stock-1": Path("/e/stock")},
        worktrees={"bank": Path("/w/bank")},
    )  # fmt: skip
    assert outcome.exit_code == 0
    env, shown = sandbox.how["env"], sandbox.how["read_only"]
    assert env["VIRTUAL_ENV"] == shown[Path("/e/desk")]
    assert env["VENV_STOCK_1"] == shown[Path("/e/stock")] != env["VIRTUAL_ENV"]
    assert env["WORKTREE_BANK"] == shown[Path("/w/bank")]
