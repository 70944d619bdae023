"""A small history builder and hand-made evidence for the ranking's tests."""

import os
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from butfor.evidence.bundles import Bundle
from butfor.evidence.graphs import CausalGraph, Edge, Node
from butfor.evidence.predicates import FailurePredicate, Frame
from butfor.evidence.telemetry import LOGS, SPANS, Telemetry
from butfor.evidence.timelines import ExceptionSeen, RequestSeen, StackSample, Timelines
from butfor.ports.repositories import Repository

ENVIRONMENT = {
    **{k: v for k, v in os.environ.items() if not k.startswith("GIT_")},
    "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "A", "GIT_AUTHOR_EMAIL": "a@example.com", "GIT_AUTHOR_DATE": "2024-01-01T00:00:00Z",
    "GIT_COMMITTER_NAME": "A", "GIT_COMMITTER_EMAIL": "a@example.com", "GIT_COMMITTER_DATE": "2024-01-01T00:00:00Z",
}  # fmt: skip


class Builder:
    """Commits files; `shas` by message."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shas: dict[str, str] = {}
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=ENVIRONMENT, check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    def commit(self, message: str, **files: str | bytes | None) -> str:
        return self.commit_files(
            message, {name.replace("__", "/").replace("_py", ".py"): t for name, t in files.items()}
        )

    def commit_files(self, message: str, files: dict[str, str | bytes | None]) -> str:
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                path.unlink()
            else:
                path.write_bytes(text if isinstance(text, bytes) else text.encode())
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)
        self.shas[message] = self.git("rev-parse", "HEAD")
        return self.shas[message]


@pytest.fixture
def builder(tmp_path: Path) -> Builder:
    folder = tmp_path / "work"
    folder.mkdir()
    return Builder(folder)


@pytest.fixture
def opened(builder: Builder) -> Iterator[Repository]:
    with Repository(builder.folder) as repository:
        yield repository


def frame(file: str, line: int, function: str) -> Frame:
    return Frame(file=file, line=line, function=function)


def line_of(text: str, fragment: str) -> int:
    return next(n for n, line in enumerate(text.splitlines(), 1) if fragment in line)


def timelines(
    frames: list[Frame] | None = None,
    kind: str = "KeyError",
    message: str = "'x'",
    *,
    samples: list[StackSample] | None = None,
    target: str = "/item",
    healthy: tuple[str, ...] = ("/healthy",),
) -> Timelines:
    """One failing request, with its exception where frames are given, and healthy ones."""
    telemetry = Telemetry(Bundle(path=Path("bundle"), manifest=None), SPANS.empty_table(), LOGS.empty_table())
    seen = ExceptionSeen(span="t/s", types=[kind], message=message, template=message, frames=frames or [], source="log")
    common = {"service": "web", "method": "GET", "status": 500, "ended": None, "duration_s": 0.1, "start_ns": 1}
    failing = RequestSeen(
        span="t/s", route=target, target=target, failed=True, exceptions=[seen] if frames else [],
        samples=samples or [], **common,
    )  # fmt: skip
    others = [
        RequestSeen(**{**common, "status": 200}, span=f"h{i}/s", route=path, target=path, failed=False)
        for i, path in enumerate(healthy)
    ]
    types = [kind] if frames else []
    predicate = FailurePredicate(service="web", method="GET", route=target, status=500, exception_types=types)
    requests = [failing, *others]
    return Timelines(
        telemetry=telemetry, spans=telemetry.spans, segments=telemetry.spans, requests=requests, predicate=predicate,
        failing=[0], healthy=list(range(1, len(requests))),
    )  # fmt: skip


def code_graph(frames: list[Frame], *, edges: bool = True) -> CausalGraph:
    """Outermost first; each frame leads to the next, the innermost to the failure."""
    nodes = [Node(id=f"code{i}", kind="code", label=f.function, frame=f) for i, f in enumerate(frames)]
    chain = [*(n.id for n in nodes), "failure"]
    links = [Edge(source=a, target=b, kind="synchronous", evidence=["t/s"]) for a, b in pairwise(chain)]
    failure = Node(id="failure", kind="failure", label="500")
    return CausalGraph(nodes=[*nodes, failure], edges=links if edges else [], failure="failure")
