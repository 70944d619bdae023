"""The capture bundle's manifest (design.md, *Capture bundle*)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from butfor.evidence._base import Frozen, Lenient

SCHEMA_VERSION = 1
FILES = (
    "manifest.json",
    "spans.otlp.jsonl",
    "logs.otlp.jsonl",
    "metrics.otlp.jsonl",
    "kernel.arrow",
    "stacks.arrow",
    "processes.arrow",
    "payloads",
)


class Loss(Frozen):
    """Something that was not recorded: where, how many, why."""

    where: str
    count: int
    reason: str
    start_ns: int = 0
    end_ns: int = 0
    """When (Unix nanoseconds), where that is known; else 0."""


class CapturedService(Lenient):
    """What capture saw of one service: how it was started and what it was made of."""

    name: str
    command: list[str] = []
    directory: str | None = None
    revision: str | None = None
    version: str | None = None
    interpreter: str | None = None
    flags: list[str] = []
    distributions: dict[str, str] = {}
    source_roots: list[str] = []
    """Absolute folders, as the process saw them, that stand for the repository's root."""
    instrumentation: Literal["otlp", "injected", "wrapped", "proxy", "none"] = "none"
    server_spans: int = 0
    exception_sources: list[str] = []


class Manifest(Lenient):
    """`manifest.json`. Times are Unix nanoseconds; `clocks` says which clock and how far it is trusted."""

    schema_version: int = SCHEMA_VERSION
    created_by: str = "butfor"
    start_ns: int
    end_ns: int
    clocks: dict[str, str] = {"spans": "CLOCK_REALTIME"}
    nodes: list[str] = []
    services: list[CapturedService] = []
    privacy: Literal["redacted", "local"] = "redacted"
    expires_ns: int | None = None
    """When raw values (privacy `local`) are due to be deleted; None where there is nothing raw."""
    mode: Literal["live", "recorded"] = "live"
    bpf: str = "not captured"
    losses: list[Loss] = []
    notes: list[str] = []


class Bundle(Frozen):
    """An opened bundle: its folder, its manifest (None for a folder of OTLP files alone), what is missing."""

    path: Path
    manifest: Manifest | None
    missing: list[str] = []
