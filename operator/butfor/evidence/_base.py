"""The base of every frozen type: immutable, closed to unknown keys, comparable by value."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Frozen(BaseModel):
    """An immutable value; unknown keys are refused so that a typo in a manifest is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Lenient(BaseModel):
    """An immutable value read from a file that others write; unknown keys are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")
