"""Writing commits into a bare repository with `git fast-import`: the same commits give the same shas on any machine."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

from butfor.demo.replays import AUTHORS, Made
from butfor.errors import InfrastructureError

ENVIRONMENT = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "LC_ALL": "C.UTF-8",
}
"""Neither the user's nor the machine's configuration may change what is written."""


def write_history(commits: Iterable[Made], folder: Path) -> dict[int, str]:
    """Make the bare repository `folder` and write the commits to it; their shas by number.

    Raises InfrastructureError where git is not there or refuses.
    """
    folder = folder.resolve()  # git is started elsewhere
    _git("init", "--quiet", "--bare", "--object-format=sha1", "--initial-branch=main", "--template=", str(folder))
    marks = folder / "marks"
    stream = b"".join(_stream(commits))
    _git("-C", str(folder), "fast-import", "--quiet", f"--export-marks={marks}", given=stream)
    shas = dict(line.split() for line in marks.read_text().splitlines())
    marks.unlink()
    return {int(mark[1:]): sha for mark, sha in shas.items()}


def _stream(commits: Iterable[Made]) -> Iterator[bytes]:
    """Commands for fast-import; commits are marked with their numbers."""
    for made in commits:
        branch = f"refs/heads/{made.step.branch or 'main'}"
        who, when = AUTHORS[made.step.author], _when(made.step.date)
        yield f"commit {branch}\nmark :{made.number}\nauthor {who} {when}\ncommitter {who} {when}\n".encode()
        yield _data(made.step.message)
        for word, parent in zip(("from", *["merge"] * len(made.parents)), made.parents, strict=False):
            yield f"{word} :{parent}\n".encode()
        yield b"deleteall\n"
        for path, content in sorted(made.tree.items()):
            yield f"M 100644 inline {path}\n".encode() + _data(content)
        if made.step.tag:
            yield f"reset refs/tags/{made.step.tag}\nfrom :{made.number}\n\n".encode()


def _data(text: str) -> bytes:
    content = text.encode()
    return b"data %d\n%b\n" % (len(content), content)


def _when(date: str) -> str:
    """Seconds since the epoch and offset, as git writes them."""
    moment = datetime.fromisoformat(date)
    return f"{int(moment.timestamp())} {moment:%z}"


def _git(*arguments: str, given: bytes = b"") -> None:
    try:
        done = subprocess.run(
            ["git", *arguments], input=given, capture_output=True, check=False, cwd="/",
            env={"PATH": os.environ.get("PATH", os.defpath), "HOME": "/nonexistent", **ENVIRONMENT},
        )  # fmt: skip
    except OSError as error:
        raise InfrastructureError(f"git cannot be run: {error}; install git") from error
    if done.returncode:
        raise InfrastructureError(f"git {arguments[0]} failed: {done.stderr.decode('utf-8', 'replace').strip()[:300]}")
