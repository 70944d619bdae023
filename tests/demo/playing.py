"""Plays an incident's load at any revision of its shop, without recording."""

import tempfile
from collections import Counter
from pathlib import Path

from butfor.evaluating.incidents import read_incident
from butfor.evaluating.loads import planned, planned_load
from butfor.evaluating.seconds import as_expected
from butfor.evidence.plays import Plan
from butfor.evidence.runs import Tree
from butfor.ports.benches import Bench
from butfor.ports.plays import play
from butfor.ports.repositories import Repository
from butfor.ports.worktrees import Worktrees
from butfor.reproducing.suites import run_suite


def played(case: Path, revision: str, *, repeat=1, second=None):
    """The answers of one play, by request: [(role, method and path, as expected, status, seconds)]."""
    incident, bench = read_incident(case), Bench.of_this_machine()
    with tempfile.TemporaryDirectory(prefix="butfor-demo-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o711)
        services = [_planned(one, case, revision, bench, folder) for one in incident.services]
        load = incident.load
        wanted = {f"{role}-{i}": r for role in ("healthy", "failing") for i, r in enumerate(getattr(load, role))}
        requests = planned_load(incident, folder)
        if second is not None:
            wanted, requests = {"failing-0": second}, planned([second], "failing", incident, folder)
        plan = Plan(services=services, requests=requests, concurrency=load.concurrency, repeat=repeat, case=case)
        seen = play(plan, sandbox=bench.sandbox, folder=folder / "play")
        assert seen.started, seen.reason
        return [
            (
                answer.role, f"{wanted[answer.id].method} {wanted[answer.id].path} {answer.id}",
                as_expected(wanted[answer.id], answer, seen.folder), answer.status or answer.ended, answer.seconds,
            )
            for answer in seen.answers
        ]  # fmt: skip


def _planned(service, case, revision, bench, folder):
    history = case / service.repository.path
    wanted = revision if service.good else service.revision
    with Repository(history) as repository:
        tree = Tree(revision=repository.resolve(wanted))
    return bench.planned(service, tree, Worktrees(history, folder / f"{service.name}.worktrees"), folder)


def failures(answers):
    """How often each request was not answered as expected."""
    return Counter(name for _, name, fine, _, _ in answers if not fine)


def own_tests(case, revisions):
    """The outcome of each service's own tests at each revision, by (revision, service)."""
    incident, bench = read_incident(case), Bench.of_this_machine()
    found = {}
    for revision in revisions:
        for service in incident.services:
            if service.test:
                with tempfile.TemporaryDirectory(prefix="butfor-demo-") as scratch:
                    folder = Path(scratch)
                    folder.chmod(0o711)
                    planned_service = _planned(service, case, revision, bench, folder)
                    found[revision, service.name] = run_suite(planned_service, service.test, bench, folder, 120)
    return found
