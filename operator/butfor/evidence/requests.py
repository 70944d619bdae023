"""Requests as an incident or a capture states them, and the answers they got."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from butfor.evidence._base import Frozen, Lenient

Ended = Literal["timeout", "closed", "no answer"]
"""How a request ended that got no complete status line: the client gave up, or the peer closed."""


class Fill(Frozen):
    """A mark in a body that stands for `text` repeated `times` times."""

    text: str
    times: int = Field(ge=0, le=100_000_000)


class Request(Lenient):
    """One request of a load (design.md, *Incident*). `expect_*` is what the good revision answers."""

    service: str | None = None
    method: str = "GET"
    path: str
    headers: dict[str, str] = {}
    body: Any = None
    body_fill: dict[str, Fill] = {}
    timeout: float | None = None
    repeat: int = Field(default=1, ge=1, le=100_000)
    expect_status: int | None = None
    expect_contains: list[str] = []
    expect_absent: list[str] = []
    expect_header: dict[str, str] = {}
    save: dict[str, Any] = {}
    before: list[Request] = []

    @field_validator("expect_contains", "expect_absent", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        if value is None:
            return []
        return value if isinstance(value, list) else [value]

    @field_validator("headers", "body_fill", "expect_header", "save", mode="before")
    @classmethod
    def _empty_for_none(cls, value: Any) -> Any:
        return {} if value is None else value


class Payload(Frozen):
    """One message pair of a span as captured: what was asked and what was answered.

    `request_body` and `answer_body` are content hashes (sha256, hex) of files in the bundle's `payloads/`;
    None means no body was seen. `status` is None when no status line was sent. `complete` is False when the
    answer broke off or never ended. Times are Unix nanoseconds.
    """

    trace_id: str
    span_id: str
    role: Literal["server", "client", "edge"]
    service: str
    method: str
    target: str
    request_headers: list[tuple[str, str]] = []
    request_body: str | None = None
    request_bytes: int = 0
    request_truncated: bool = False
    status: int | None = None
    answer_headers: list[tuple[str, str]] = []
    answer_body: str | None = None
    answer_bytes: int = 0
    answer_truncated: bool = False
    complete: bool = True
    ended: Ended | None = None
    start_ns: int
    end_ns: int | None = None
    peer: str | None = None
    redacted_fields: list[str] = []


class Answer(Frozen):
    """What a run's client saw for one request. `seconds` is wall time until the last byte or the end."""

    status: int | Ended
    headers: list[tuple[str, str]] = []
    body: bytes = b""
    complete: bool = True
    seconds: float = 0.0
