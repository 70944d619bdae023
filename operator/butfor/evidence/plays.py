"""A play: services started in the sandbox, requests sent to them, and everything that was observed.

The same play captures an incident, learns the good answers, and runs a reproduction.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from butfor.evidence._base import Frozen
from butfor.evidence.bundles import Loss
from butfor.evidence.recordings import KernelRecording
from butfor.evidence.runs import Role
from butfor.evidence.services import Ready


class PlannedService(Frozen):
    """A service to start. Paths are host paths; the player maps them into the sandbox.

    `worktree` is the tree under test, `environment_path` the virtual environment (its `bin` is first on PATH).
    `edge`: a recording proxy stands in front; clients and other services reach the service through it.
    `inject`: the process runs under butfor_inject, which also proves which files it loaded.
    """

    name: str
    worktree: Path
    environment_path: Path | None = None
    directory: str = "."
    prepare: str = ""
    run: str
    ready: Ready = Ready()
    environment: dict[str, str] = {}
    limits: dict[str, int] = {}
    """rlimits set before `run`: open_files, memory_mb, processes, file_mb; and disk_mb, the size of $DATA."""
    lift_limits: bool = False
    """The Resource intervention: `limits` are not set, and `ulimit` in the run script has no effect."""
    revision: str = ""
    edge: bool = False
    inject: bool = True


class PlannedRequest(Frozen):
    """A request to send. `body` is a host file. `save` is design.md's: `cookies: true`, `NAME: REGEX`."""

    id: str
    role: Role
    service: str
    method: str
    target: str
    headers: list[tuple[str, str]] = []
    body: Path | None = None
    timeout_s: float = 10.0
    save: dict[str, Any] = {}
    repeat: int = 1


class StubAnswer(Frozen):
    """How a downstream answered one captured call; a stub replays it. Bound to the call's span.

    `spare`: captured while a request was served that the run leaves out; given where nothing else fits as well.
    """

    span: str
    method: str
    target: str
    request_body: str | None = None
    status: int | None = None
    headers: list[tuple[str, str]] = []
    body: Path | None = None
    delay_s: float = 0.0
    ended: Literal["closed", "reset", "refused", "timeout"] | None = None
    spare: bool = False


class Plan(Frozen):
    """What to play.

    Requests go `before` in order, then the rest: in order when `concurrency` is 1, else mixed and shuffled with
    `seed` over `concurrency` client threads; healthy and failing are sent `repeat` times.
    `stubs` maps a downstream's name to its answers; `<NAME>_URL` then points at the stub.
    """

    services: list[PlannedService]
    requests: list[PlannedRequest] = []
    stubs: dict[str, list[StubAnswer]] = {}
    concurrency: int = 1
    repeat: int = 1
    seed: int = 0
    case: Path | None = None
    deadline_s: float = 300.0
    start_timeout_s: float = 60.0
    grace_s: float = 0.0
    """How long services may take to end by themselves; more where they write telemetry of their own at exit."""
    collect: bool = False
    """Services find OTEL_EXPORTER_OTLP_ENDPOINT of a collector; what it took is in the spool as `otlp-*.frames`."""
    functions: bool = False
    """Injected code records the functions that run for the first requests."""


class AnswerRecord(Frozen):
    """One answer as the client saw it; `body` is a file in the observation's folder."""

    id: str
    role: Role
    iteration: int = 0
    status: int | None = None
    ended: Literal["timeout", "closed", "refused"] | None = None
    headers: list[tuple[str, str]] = []
    body: Path | None = None
    body_bytes: int = 0
    complete: bool = True
    seconds: float = 0.0
    start_ns: int = 0
    trace_id: str = ""
    skipped: str = ""


class Observation(Frozen):
    """What a play saw. `spool` holds what edges and injected processes wrote (spans, logs, payloads, modules)."""

    folder: Path
    spool: Path
    started: bool
    reason: str = ""
    infrastructure: bool = False
    start_seconds: float = 0.0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    answers: list[AnswerRecord] = []
    loaded_files: dict[str, list[str]] = {}
    """Per service, files of loaded modules, with the worktree's mount point replaced by `<worktree>`."""
    logs: dict[str, Path] = {}
    sandbox: str = ""
    notes: list[str] = []
    """What was left out, e.g. that a service ran without injection."""
    probe_traces: list[str] = []
    """Trace ids of the ready probes: requests of ours, not of any client."""
    stub_calls: dict[str, dict[str, int]] = {}
    stub_misses: dict[str, list[str]] = {}
    """Per stubbed downstream, the calls (method and target) that nothing captured could answer."""
    """Per stubbed downstream, how often each call (`METHOD target bodyhash`) was made."""
    stopped_ns: int = 0
    """When the services were told to end (Unix nanoseconds): what they did from then on is our doing."""
    kernel_recording: KernelRecording = KernelRecording()
    """What the kernel saw of the services' processes; empty where the play was not asked to watch."""

    @property
    def kernel(self) -> Path | None:
        """The folder with `kernel.arrow` and its neighbours, or None."""
        return self.kernel_recording.folder

    @property
    def kernel_losses(self) -> list[Loss]:
        """What of the kernel's events is missing."""
        return self.kernel_recording.losses

    @property
    def kernel_reason(self) -> str:
        """Why there are no kernel events, or why they end early; empty where nothing is missing."""
        return self.kernel_recording.reason
