"""The folder of a verdict: its jobs, its README and its sentence."""

import yaml

from butfor.evidence.predicates import FailurePredicate
from butfor.evidence.suspects import FunctionRef, Suspect
from butfor.evidence.verdicts import Verdict
from butfor.reporting.jobs import ci_files
from butfor.reporting.sentences import headline

PREDICATE = FailurePredicate(service="shop", method="GET", route="/pay", status=500, exception_types=["KeyError"])
SUSPECT = Suspect(commit="ab" * 20, subject="Change pay", score=3.0)


def test_the_headline_says_no_more_than_the_claim():
    functions = [FunctionRef(name="shop.pay", file="shop.py", line=3)]
    proved = Verdict(outcome="CodeChange", claim="Proved", predicate=PREDICATE, suspects=[SUSPECT], functions=functions)
    assert headline(proved).startswith("But for commit abababababab “Change pay” (shop.pay), GET /pay answering 500")
    assert "But for" not in headline(proved.model_copy(update={"claim": "Bisected"}))
    assert headline(proved.model_copy(update={"outcome": "Inconclusive"})).startswith("Not decided")


def test_the_jobs_are_yaml_and_run_the_reproduction():
    files = ci_files()
    github = yaml.safe_load(files["ci/github-actions.yml"])
    gitlab = yaml.safe_load(files["ci/gitlab-ci.yml"])
    assert "repro/run" in github["jobs"]["reproduction"]["steps"][-1]["run"]
    assert "repro/run" in gitlab["failure-stays-fixed"]["script"][0]
    assert gitlab["failure-stays-fixed"]["allow_failure"] == {"exit_codes": [125]}
