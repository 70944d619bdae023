"""Incidents: services, a load, a symptom; and the truth that only the scorer reads (design.md, *Incident*)."""

from __future__ import annotations

from pydantic import Field

from butfor.evidence._base import Lenient
from butfor.evidence.requests import Request
from butfor.evidence.services import ServiceDescription
from butfor.evidence.verdicts import Outcome


class Load(Lenient):
    """What is sent while capturing. An empty `failing` means failures come by themselves under load."""

    before: list[Request] = []
    healthy: list[Request] = []
    failing: list[Request] = []
    concurrency: int = Field(default=1, ge=1, le=64)
    repeat: int = Field(default=1, ge=1, le=100_000)


class Symptom(Lenient):
    """What a user saw. `status` may be an HTTP status, `timeout`, `closed` or `no answer`. Every key optional."""

    service: str | None = None
    route: str | None = None
    status: int | str | None = None
    exception: str | None = None
    latency_over_ms: float | None = None
    trace: str | None = Field(default=None, pattern=r"^[0-9a-f]{32}$")
    """A trace that failed: what is explained is what its request failed with."""
    kernel: str | None = Field(default=None, max_length=200, pattern=r"^\s*\S+(\s+\S+){0,3}\s*$")
    """What the kernel saw fail, whatever was answered: a call, an errno or a signal, `connect ECONNREFUSED`."""
    note: str | None = None


class Incident(Lenient):
    """`incident.yaml`. `load` is used by capture alone; investigating never reads it."""

    id: str
    title: str = ""
    services: list[ServiceDescription]
    load: Load = Load()
    symptom: Symptom = Symptom()


class Truth(Lenient):
    """`truth.yaml`, read by the scorer after the verdict is written."""

    outcome: Outcome = "CodeChange"
    culprit: str | None = None
    also_accepted: list[str] = []
    files: list[str] = []
    functions: list[str] = []
    second_request: Request | None = None
