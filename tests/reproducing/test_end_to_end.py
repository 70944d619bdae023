"""From a capture of a tiny planted service to a reproduction that judges every revision, and `repro/run`."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from butfor.evidence.runs import Tree
from butfor.ports.benches import Bench
from butfor.reproducing import Budget, Workshop, files, reproduce

from . import planted

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    base = tmp_path_factory.mktemp("world")
    base.chmod(0o711)
    shas = planted.history(base / "history")
    bench = Bench.of_this_machine()
    workshop = Workshop(bench, {"desk": base / "history"}, base / "scratch")
    described = planted.service(shas[0], shas[5])
    timelines, telemetry = planted.capture(workshop, described, base / "capture")
    done = reproduce(timelines, telemetry, [described], workshop, shas[0], shas[5], Budget(confirm=3))
    return base, shas, described, done, (timelines, telemetry, workshop)


def test_fails_on_bad_and_never_on_good_with_the_state_it_needs(world):
    _, _, _, done, _ = world
    found = done.reproduction
    assert found.reason == ""
    assert (found.bad_runs, found.bad_failures, found.good_runs, found.good_failures) == (3, 3, 3, 0)
    before = [one for one in found.parts.requests if one.role == "before"]
    failing = [one for one in found.parts.requests if one.role == "failing"]
    assert len(before) == 1, "one order has to be made, and no more"
    assert "{{" in failing[0].target
    assert failing[0].id not in {one.id for one in before}


def test_every_revision_is_judged_rightly(world):
    _, shas, _, done, _ = world
    verdicts = [done.runner.run(Tree(revision=sha)).judgement for sha in shas]
    assert verdicts == ["good"] * 3 + ["bad"] * 3


def test_a_healed_tree_is_good_and_another_failure_is_not_bad(world):
    _, shas, _, done, _ = world
    text = planted.ORDERS.format(version="1.5", total=planted.RIGHT, footer=" about us")
    healed = Tree(revision=shas[5], overlay={"desk/orders.py": text.encode()})
    other = text.replace("told = {", "raise KeyError('items')\n        told = {")
    assert done.runner.run(healed).judgement == "good"
    outcome = done.runner.run(Tree(revision=shas[5], overlay={"desk/orders.py": other.encode()}))
    assert outcome.judgement == "unknown"
    broken = done.runner.run(Tree(revision=shas[5], overlay={"server.py": b"raise SystemExit(3)"}))
    assert (broken.judgement, broken.started) == ("unknown", False)


def test_a_route_taken_away_is_not_good(world):
    _, shas, _, done, _ = world
    text = planted.ORDERS.format(version="1.5", total=planted.WRONG, footer="")
    empty = text.replace('path.startswith("/orders/")', "False")
    assert done.runner.run(Tree(revision=shas[5], overlay={"desk/orders.py": empty.encode()})).judgement == "unknown"


@pytest.fixture(scope="module")
def written(world):
    base, shas, _, done, _ = world
    return files.write(done.reproduction, done.runner, base / "repro", good=shas[0], bad=shas[5])


def judge(written: Path, base: Path, *arguments: str, where: Path | None = None) -> tuple[int, str]:
    env = {**os.environ, "REPRO_CACHE": str(base / "cache")}
    done = subprocess.run(
        [sys.executable, str(written / "run"), *arguments],
        cwd=where or base / "history",
        env=env,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_run_maps_revisions_to_codes_of_git_bisect(world, written):
    base, shas, *_ = world
    assert judge(written, base, shas[2])[0] == 0
    code, text = judge(written, base, shas[3])
    assert code == 1, text
    assert "REPRODUCED" in text
    assert judge(written, base, "nonsense")[0] == 129
    assert judge(written, base, "--repo", str(base / "nowhere"))[0] == 129


def test_errors_of_test_fixture_setup_and_start_leave_through_125(world, written):
    base, shas, *_ = world
    for name, change in {
        "fixture": ("test_reproduction.py", lambda text: text.replace("return plays.judged", "raise ValueError")),
        "collection": ("test_reproduction.py", lambda text: text + "\nimport nothing_of_this_name\n"),
        "start": ("plan.json", lambda text: text.replace("server.py", "absent.py")),
        "setup": ("plan.json", lambda text: text.replace('"setup": ""', '"setup": "exit 3"')),
        "nothing": ("test_reproduction.py", lambda text: text.replace("def test_", "def no_")),
    }.items():
        copy = base / f"repro-{name}"
        shutil.copytree(written, copy)
        path = copy / change[0]
        path.write_text(change[1](path.read_text()))
        code, text = judge(copy, base, shas[5])
        assert code == 125, (name, text)


def test_git_bisect_run_names_the_culprit(world, written, tmp_path):
    base, shas, *_ = world
    clone = tmp_path / "clone"
    planted.git(tmp_path, "clone", "-q", str(base / "history"), str(clone))
    planted.git(clone, "bisect", "start", shas[5], shas[0])
    env = {**os.environ, "REPRO_CACHE": str(base / "cache")}
    done = subprocess.run(
        ["git", "bisect", "run", str(written / "run")], cwd=clone, env=env, capture_output=True, text=True, check=False
    )
    assert f"{shas[3]} is the first bad commit" in done.stdout, done.stdout + done.stderr


def test_written_folder_imports_nothing_of_ours(written):
    for path in written.rglob("*.py"):
        if "players" not in path.parts:
            lines = [line for line in path.read_text().splitlines() if line.lstrip().startswith(("import ", "from "))]
            assert not [line for line in lines if " butfor." in line or line.endswith(" butfor")], path
    assert json.loads((written / "plan.json").read_text())["schema_version"] == 1


def test_good_that_is_bad_too_is_said(world):
    _, shas, described, _, (timelines, telemetry, workshop) = world
    done = reproduce(timelines, telemetry, [described], workshop, shas[4], shas[5], Budget(confirm=1))
    assert not done.reproduction.reproduced
    assert done.reproduction.reason.startswith("good fails too")


def test_bad_that_does_not_fail_is_said(world):
    _, shas, described, _, (timelines, telemetry, workshop) = world
    done = reproduce(timelines, telemetry, [described], workshop, shas[0], shas[1], Budget(confirm=1))
    assert not done.reproduction.reproduced
    assert "bad does not fail" in done.reproduction.reason
