"""Another way into the same fault: does the verified patch heal it too? Asked by the scorer after the verdict."""

from __future__ import annotations

import tempfile
from pathlib import Path

from butfor.errors import ButforError
from butfor.evaluating.incidents import read_truth
from butfor.evaluating.loads import planned
from butfor.evidence.incidents import Incident
from butfor.evidence.plays import AnswerRecord, Plan
from butfor.evidence.requests import Request
from butfor.evidence.runs import Tree
from butfor.evidence.verdicts import Verdict
from butfor.ports.benches import Bench
from butfor.ports.patches import apply_patch
from butfor.ports.plays import play
from butfor.ports.repositories import Repository
from butfor.ports.worktrees import Worktrees


def heals_second_request(
    incident: Incident, case: Path, histories: dict[str, Path], verdict: Verdict, bench: Bench, out: Path
) -> bool | None:
    """Play the truth's second request on bad plus the verdict's patch; None without a patch or second request."""
    truth = read_truth(case)
    if (
        truth is None
        or truth.second_request is None
        or not verdict.patch.path
        or not (out / verdict.patch.path).is_file()
    ):
        return None
    try:
        return _healed(incident, case, histories, truth.second_request, out / verdict.patch.path, bench)
    except ButforError:
        return False


def _healed(
    incident: Incident, case: Path, histories: dict[str, Path], second: Request, patch: Path, bench: Bench
) -> bool:
    with tempfile.TemporaryDirectory(prefix="butfor-second-") as scratch:
        folder = Path(scratch)
        folder.chmod(0o711)
        services = []
        for service in incident.services:
            with Repository(histories[service.name]) as repository:
                tree = Tree(revision=repository.resolve(service.bad or service.revision or "HEAD"))
                if service.good and service.bad:
                    tree = apply_patch(repository, tree, patch.read_bytes())
            worktrees = Worktrees(histories[service.name], folder / f"{service.name}.worktrees")
            services.append(bench.planned(service, tree, worktrees, folder))
        before = planned(earlier(incident, second), "before", incident, folder)
        plan = Plan(services=services, requests=before + planned([second], "failing", incident, folder), case=case)
        observation = play(plan, sandbox=bench.sandbox, folder=folder / "play")
        failing = [answer for answer in observation.answers if answer.role == "failing"]
        return bool(failing) and all(as_expected(second, answer, observation.folder) for answer in failing)


def earlier(incident: Incident, second: Request) -> list[Request]:
    """What is sent before the second request: it may need what healthy ones are given to keep, a session or token."""
    gives = [request for request in incident.load.healthy if request.save]
    return [*incident.load.before, *gives, *second.before]


def as_expected(request: Request, answer: AnswerRecord, folder: Path) -> bool:
    """Whether an answer is what the incident says that good answers (`expect_*`)."""
    if answer.ended or not answer.complete or answer.status != (request.expect_status or answer.status):
        return False
    text = (folder / answer.body).read_bytes().decode("utf-8", "replace") if answer.body else ""
    headers = {name.lower(): value for name, value in answer.headers}
    return (
        all(part in text for part in request.expect_contains)
        and not any(part in text for part in request.expect_absent)
        and all(str(value) in headers.get(name.lower(), "") for name, value in request.expect_header.items())
    )
