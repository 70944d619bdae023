"""The runs of `butfor prove`: every claim of a verdict, by its reproduction, in a sandbox where another wrote it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from rich.console import Console

from butfor.errors import UserError
from butfor.evidence.verdicts import Verdict
from butfor.investigating.rederiving import rederive
from butfor.ports.repositories import Repository
from butfor.ports.sandboxes import detect
from butfor.ports.watches import Limits
from butfor.reporting.conditions import CONDITIONS, foreign
from butfor.reporting.proofs import Answer, Proof, Replay, Runner, copy_reproduction, exit_code, read_folder
from butfor.reproducing.files import TEMPLATES

ANSWERS: dict[int, Answer] = {0: "good", 1: "bad"}
WORDS = {True: "held", False: "not held", None: "cannot tell"}
ENDINGS = {
    0: "everything that the verdict claims held",
    1: "NOT everything that the verdict claims held",
    3: "the runs cannot tell whether everything that the verdict claims holds",
}
SECONDS = 3600.0


def replay(out: Path, repo: Path, repeats: int, good: str | None, bad: str | None, *, unisolated: bool) -> int:
    """Say of every claim whether it held, and give the exit code; UserError where no sandbox works."""
    console = Console(highlight=False, soft_wrap=True)
    sandbox = detect()
    if sandbox.kind == "none" and not unisolated:
        raise UserError(f"no sandbox works here ({sandbox.why}); install bubblewrap, or trust OUT with --unisolated")
    folder = read_folder(out, good, bad)
    with Repository(repo) as repository, tempfile.TemporaryDirectory(prefix="butfor-prove-") as scratch:
        reproduction = Path(scratch) / "repro"
        copy_reproduction(out, reproduction)
        console.print(f"sandbox: {sandbox.describe()}", markup=False)
        proofs = []
        healed = _healed(out, Path(scratch), folder.verdict, repository)
        search = partial(rederive, repository, hints=folder.verdict.functions[:20])
        replay = Replay(folder, repository, runner(reproduction, repository), repeats, healed=healed, search=search)
        for proof in replay.proofs():
            proofs.append(proof)
            _show(console, proof)
    code = exit_code(proofs)
    console.print(ENDINGS[code], style="bold")
    return code


def _healed(out: Path, scratch: Path, verdict: Verdict, repository: Repository) -> Runner | None:
    """How the reproduction with the healthy value is run; UserError where it is another test."""
    if verdict.outcome not in CONDITIONS or not (out / "healed" / "plan.json").is_file():
        return None
    copy_reproduction(out, scratch / "healed", "healed")
    apart = foreign(scratch / "repro", scratch / "healed", verdict.outcome)
    if apart:
        raise UserError(
            f"healed/ is another test than repro/, not the same with a healthy value: {', '.join(apart[:5])}"
        )
    return runner(scratch / "healed", repository)


def runner(reproduction: Path, repository: Repository) -> Runner:
    """How this reproduction is run: as it is where it isolates tests itself, in a sandbox where it is another's."""
    script = reproduction / "run"
    if not script.is_file():
        raise UserError("the folder has no repro/run; give the folder that butfor investigate wrote")
    if script.read_bytes() == (TEMPLATES / "run.txt").read_bytes():
        return lambda commit: _own(script, commit, repository)
    return lambda commit: _foreign(script, commit, repository)


def _own(script: Path, commit: str, repository: Repository) -> Answer:
    """Run butfor's own script, which runs setup and test in a sandbox."""
    command = [sys.executable, "-I", str(script), commit, "--repo", str(repository.path)]
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True, cwd=script.parent,
    )  # fmt: skip
    try:
        return ANSWERS.get(process.wait(timeout=SECONDS), "cannot tell")
    except subprocess.TimeoutExpired:
        return "cannot tell"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)  # it removes its folders, and its sandboxes end with it
            process.wait()


def _foreign(script: Path, commit: str, repository: Repository) -> Answer:
    """Run a script that butfor did not write: no network, nothing of the user's, nothing kept between runs."""
    seen = {path: str(path) for path in (script.parent, repository.path, repository.source)}
    with tempfile.TemporaryDirectory(prefix="butfor-log-") as folder:
        ended = detect().run(
            ["python3", "-I", str(script), commit, "--repo", str(repository.path)], env={}, cwd=str(script.parent),
            stdout=Path(folder) / "log", read_only=seen, limits=Limits(seconds=600.0),
        )  # fmt: skip
    return "cannot tell" if ended.cut else ANSWERS.get(ended.code, "cannot tell")


def _show(console: Console, proof: Proof) -> None:
    console.print(f"{WORDS[proof.held]:12} {proof.name}: {proof.method}", markup=False)
    for line in proof.details:
        console.print(f"{'':12} {line}", markup=False)
