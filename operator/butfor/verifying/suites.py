"""The service's own tests and the new one, run at bad and with the patch."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from butfor.evidence.runs import Runner, SuiteOutcome, Tree
from butfor.evidence.verdicts import Check
from butfor.verifying.baselines import Bench
from butfor.verifying.comparisons import broken_tests

RETRIES = 2
UNAVAILABLE = 77
"""Exit code of our lint script where no configured linter is installed."""
MAXIMUM_TEST = 64 * 1024 * 1024
LINTERS = (
    (("ruff.toml", ".ruff.toml"), "[tool.ruff", "ruff", "ruff check --no-cache --output-format concise"),
    ((".flake8",), "[flake8]", "flake8", "flake8"),
)


@dataclass(frozen=True)
class NewTest:
    """Test files that fail at bad for the failure's reason and pass with the patch; `script` runs them with pytest.

    `path`: the test itself, for people. `content`: the test's bytes; `more`: what it needs beside it.
    """

    path: str
    content: bytes
    script: str
    more: Mapping[str, bytes] = field(default_factory=dict)


def plain_test(folder: Path, at: str = ".butfor-reproduction") -> NewTest | None:
    """The pytest file of a written reproduction, to be run inside a worktree at `at`; None where it is too large.

    It fails only where the captured failure was seen, passes only where good's answers were, and is skipped otherwise.
    """
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink()]
    if sum(path.stat().st_size for path in paths) > MAXIMUM_TEST:
        return None
    files = {f"{at}/{path.relative_to(folder).as_posix()}": path.read_bytes() for path in paths}
    name = f"{at}/test_reproduction.py"
    if name not in files:
        return None
    script = (
        f'python -c "import pytest" || exit {UNAVAILABLE}\n'
        f'export VENV="$VIRTUAL_ENV"; cd "$WORKTREE/{at}"\n'
        "python -B -m pytest -q -c /dev/null --noconftest -p no:cacheprovider --rootdir . test_reproduction.py\n"
    )
    return NewTest(name, files.pop(name), script, files)


def own_suite(bench: Bench, before: SuiteOutcome, tree: Tree, script: str, refused: set[str]) -> Check:
    """No test that passes on bad (`before`) fails with the patch; what fails is repeated, for tests can be flaky.

    `refused`: tests that earlier patches broke; they are run first and by themselves. What this one breaks is added.
    """
    if not before.tests and before.exit_code != 0:
        detail = f"the suite does not pass on bad either (exit code {before.exit_code}): {_last(before)}"
        return Check(name="suite", passed=None, detail=detail)
    only = _only(refused & before.tests.keys(), script)
    wrong, tries = _broken(bench, before, tree, only, refused) if only else ([], 0)
    if not wrong:
        wrong, tries = _broken(bench, before, tree, script)
    if wrong:
        refused.update(wrong)
        return Check(name="suite", passed=False, detail=f"failed {tries} times: {', '.join(wrong[:10])}")
    passed = sum(how == "passed" for how in before.tests.values())
    counted = f"{passed} tests that pass on bad pass" if before.tests else "exit code 0 as on bad"
    return Check(name="suite", passed=True, detail=counted + (f", some after {tries} tries" if tries > 1 else ""))


def _broken(
    bench: Bench, before: SuiteOutcome, tree: Tree, script: str, among: set[str] | None = None
) -> tuple[list[str], int]:
    """Tests that fail with the patch each time, and how often the script was run. `among`: the others are not run."""
    wrong, tries = _wrong(before, bench.suite(tree, script), among), 1
    while wrong and tries <= RETRIES and not bench.late:
        tries += 1
        again = _wrong(before, bench.suite(tree, script), among)
        wrong = [name for name in wrong if name in again]
    return wrong, tries


def _only(names: set[str], script: str) -> str:
    """The script with pytest told to run these tests only; empty where there are none that can be named so."""
    words = sorted({name.rpartition("::")[2].partition("[")[0] for name in names})
    plain = [word for word in words if word.isidentifier()][:20]
    return f"export PYTEST_ADDOPTS=\"${{PYTEST_ADDOPTS:-}} -k '{' or '.join(plain)}'\"\n{script}" if plain else ""


def _wrong(before: SuiteOutcome, after: SuiteOutcome, among: set[str] | None = None) -> list[str]:
    if among is not None:
        seen = {name: how for name, how in before.tests.items() if name in among and name in after.tests}
        return broken_tests(before.model_copy(update={"tests": seen}), after)
    if before.tests:
        return broken_tests(before, after)
    return [] if after.exit_code == 0 else [f"exit code {after.exit_code}: {_last(after)}"]


def _last(outcome: SuiteOutcome) -> str:
    lines = [line.strip() for line in outcome.log_tail.splitlines() if line.strip()]
    return lines[-1][:200] if lines else "no output"


def new_test(runner: Runner, bad: Tree, tree: Tree, test: NewTest) -> Check:
    """Fails before (as a failed test, not as an error) and passes after; None where there is no pytest to run it."""
    outcomes = []
    for each in (bad, tree):
        overlay = {**each.overlay, **test.more, test.path: test.content}
        outcomes.append(runner.suite(each.model_copy(update={"overlay": overlay}), test.script))
        if outcomes[0].exit_code == UNAVAILABLE:
            return Check(name="new test", passed=None, detail="the service's environment has no pytest")
    before, after = outcomes
    failed = "failed" in before.tests.values() and "error" not in before.tests.values()
    if not failed:
        detail = f"on bad it gave {_summary(before)}, where a failed test is expected"
        return Check(name="new test", passed=False, detail=detail)
    if after.exit_code != 0 or "passed" not in after.tests.values() or _lost(before, after):
        return Check(name="new test", passed=False, detail=f"with the patch it gave {_summary(after)}")
    return Check(name="new test", passed=True, detail=f"{test.path} fails on bad and passes with the patch")


def _lost(before: SuiteOutcome, after: SuiteOutcome) -> list[str]:
    """Tests that fail before and do not pass after: a test that is skipped tells nothing."""
    return [name for name, how in before.tests.items() if how == "failed" and after.tests.get(name) != "passed"]


def _summary(outcome: SuiteOutcome) -> str:
    kinds = sorted(set(outcome.tests.values()))
    return f"exit code {outcome.exit_code} ({', '.join(kinds) or _last(outcome)})"


def linters(runner: Runner, bad: Tree, tree: Tree, read: Callable[[str], bytes | None]) -> Check:
    """The project's own linter, where one is configured and installed: no more findings than on bad."""
    changed = [p for p, content in sorted(tree.overlay.items()) if content is not None and p.endswith(".py")]
    configured = [(name, command) for files, mark, name, command in LINTERS if _configured(read, files, mark)]
    if not configured or not changed:
        return Check(name="linters", passed=None, detail="the project configures no linter that is known here")
    name, command = configured[0]
    paths = " ".join(shlex.quote(path) for path in changed)
    script = f"command -v {name} >/dev/null || exit {UNAVAILABLE}\n{command} {paths}\n"
    after = runner.suite(tree, script, timeout_s=120)
    if after.exit_code in {UNAVAILABLE, 127, -1}:
        return Check(name="linters", passed=None, detail=f"{name} is not installed in the service's environment")
    if after.exit_code == 0:
        return Check(name="linters", passed=True, detail=f"{name} finds nothing in {len(changed)} files")
    before = runner.suite(bad, script, timeout_s=120)
    more = len(after.log_tail.splitlines()) - len(before.log_tail.splitlines())
    detail = f"{name}: {max(0, more)} more lines of findings than on bad"
    return Check(name="linters", passed=before.exit_code != 0 and more <= 0, detail=detail)


def _configured(read: Callable[[str], bytes | None], files: tuple[str, ...], mark: str) -> bool:
    if any(read(name) is not None for name in files):
        return True
    return any(mark.encode() in (read(name) or b"") for name in ("pyproject.toml", "setup.cfg", "tox.ini"))
