"""Interventions other than on code: run where both revisions fail, or where configuration differs too."""

from __future__ import annotations

from butfor.evidence.runs import Tree
from butfor.investigating.analyses import Analysis, History
from butfor.patching import Intervention, intervene
from butfor.reproducing import LocalRunner, Reproduced
from butfor.reproducing.assembling import GOOD
from butfor.reproducing.interventions import healthy_downstreams, lifted_limits


def fails_at_both(found: Reproduced) -> bool:
    """Whether the failure is there at good and bad alike, every time: then no commit between them is to blame."""
    counts = found.reproduction
    return (
        found.runner is not None
        and counts.bad_runs > 0
        and counts.bad_failures == counts.bad_runs
        and counts.good_failures == counts.good_runs > 0
    )


def beyond_code(runner: LocalRunner, analysis: Analysis, history: History) -> list[Intervention]:
    """Set downstream answers and limits to their healthy values at bad, and back again at good."""
    telemetry = analysis.timelines.telemetry
    tried = []
    for kind, name, healing in (
        (
            "Dependency",
            "the downstream's healthy answers put back",
            healthy_downstreams(runner, analysis.timelines, telemetry),
        ),
        ("Resource", "the limit lifted", lifted_limits(runner)),
    ):
        if healing is not None:
            faulty_tree = Tree(revision=history.good, label=GOOD)
            tree = Tree(revision=history.bad, label="bad")
            tried.append(intervene(kind, name, healing, tree, faulty=runner, faulty_tree=faulty_tree))  # type: ignore[arg-type]
    return tried


def configuration(runner: LocalRunner, history: History) -> Intervention | None:
    """Run bad's code with good's environment, and good's code with bad's; None where the two do not differ."""
    if all(service.good_environment in (None, service.environment) for service in runner.services):
        return None
    return intervene(
        "ConfigChange", "the environment of the good revision", runner, Tree(revision=history.bad, label=GOOD),
        faulty=runner, faulty_tree=Tree(revision=history.good, label="good code, bad environment"),
    )  # fmt: skip
