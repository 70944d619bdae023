"""Continuous-integration jobs that run a reproduction, and the README of a verdict's folder."""

from __future__ import annotations

import sys

from butfor.evidence.verdicts import Verdict

GITHUB = """\
# Keeps the failure from coming back. Copy the verdict's folder into the repository, name it in FOLDER,
# and move this file to .github/workflows/.
# repro/run exits 0 (good), 1 (the failure is back), 125 (cannot tell).
name: failure stays fixed
on: [push, pull_request]
permissions:
  contents: read
jobs:
  reproduction:
    runs-on: ubuntu-latest
    timeout-minutes: 20
    env:
      FOLDER: butfor
    steps:
      - uses: actions/checkout@v4
        with:
          fetch-depth: 0
          persist-credentials: false
      - uses: actions/setup-python@v5
        with:
          python-version: "{python}"
      - run: sudo apt-get update && sudo apt-get install --yes bubblewrap
      - run: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0  # else bubblewrap cannot isolate
        continue-on-error: true
      - run: |
          code=0
          "$FOLDER/repro/run" "$GITHUB_SHA" --repo . || code=$?
          if [ "$code" -eq 1 ]; then echo "::error::the failure is back"; fi
          if [ "$code" -eq 125 ]; then echo "::error::the reproduction cannot tell; see the log"; fi
          exit "$code"
"""

GITLAB = """\
# Keeps the failure from coming back. Copy the verdict's folder into the repository, name it in FOLDER,
# and add to .gitlab-ci.yml:   include: {{local: FOLDER/ci/gitlab-ci.yml}}
# repro/run exits 0 (good), 1 (the failure is back), 125 (cannot tell: shown as a warning).
failure-stays-fixed:
  image: python:{python}
  timeout: 20 minutes
  variables:
    FOLDER: butfor
    GIT_DEPTH: "0"
  before_script:
    - apt-get update && apt-get install --yes --no-install-recommends bubblewrap git
  script:
    - '"$FOLDER/repro/run" "$CI_COMMIT_SHA" --repo .'
  allow_failure:
    exit_codes: [125]
"""


def ci_files() -> dict[str, str]:
    """Return the job per path in the folder; their Python is the one that the verdict was reached with."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {
        "ci/github-actions.yml": GITHUB.format(python=python),
        "ci/gitlab-ci.yml": GITLAB.format(python=python),
    }


def readme(verdict: Verdict, headline: str) -> str:
    """Return README.txt: what is in the folder, and the commands that repeat the verdict."""
    lines = [headline, "", "report.html    the verdict with its evidence; opens offline in a browser"]
    lines += ["verdict.json   the same for programs"]
    if verdict.patch.path:
        state = "passed every check" if verdict.patch.verified else "NOT verified, see report.html"
        lines += [f"{verdict.patch.path:14} a patch ({state}); git apply {verdict.patch.path}"]
    if verdict.reproduction.path and verdict.reproduction.healed_path:
        run, healed = f"{verdict.reproduction.path}/run", f"{verdict.reproduction.healed_path}/run"
        lines += [f"{verdict.reproduction.path + '/':14} the failure as a test, under the conditions as captured"]
        lines += [f"{verdict.reproduction.healed_path + '/':14} the same test with the healthy value put back", ""]
        lines += [f"{run} REV --repo DIR      exits 1 at bad and at good: the failure happens"]
        lines += [f"{healed} REV --repo DIR     exits 0 at bad: it is gone"]
    elif verdict.reproduction.path:
        run = f"{verdict.reproduction.path}/run"
        lines += [f"{verdict.reproduction.path + '/':14} the failure as a test", "ci/            jobs that run it", ""]
        lines += [f"{run} REV --repo DIR      exits 0 good, 1 the failure happens, 125 cannot tell"]
        lines += [f"git bisect run $PWD/{run}   finds the first bad commit without Butfor"]
    return "\n".join(lines) + "\n"
