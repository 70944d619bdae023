"""How a service under investigation is set up, started and tested (design.md, *Service description*)."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from butfor.evidence._base import Frozen, Lenient


class RepositoryRef(Frozen):
    """Where a service's history is; exactly one key is set."""

    path: str | None = None
    github: str | None = None
    bundle: str | None = None
    patches: str | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> RepositoryRef:
        if sum(v is not None for v in (self.path, self.github, self.bundle, self.patches)) != 1:
            raise ValueError("repository needs exactly one of path, github, bundle, patches")
        return self


class Ready(Lenient):
    """The request that answers `expect_status` once the service can serve."""

    path: str = "/"
    expect_status: int = 200


class ServiceDescription(Lenient):
    """The keys of `services[]`.

    Scripts are `bash -e -o pipefail` in a worktree, with PORT, DATA, WORKTREE, CASE and each other service's
    `<NAME>_URL` in the environment. A service without good and bad is not under suspicion and runs at `revision`.
    """

    name: str = Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]{0,62}$")
    repository: RepositoryRef | None = None
    directory: str = "."
    good: str | None = None
    bad: str | None = None
    revision: str | None = None
    setup: str = ""
    setup_each_revision: bool = False
    prepare: str = ""
    run: str
    ready: Ready = Ready()
    test: str = ""
    environment: dict[str, str] = {}
    limits: dict[Literal["open_files", "memory_mb", "processes", "file_mb", "disk_mb"], int] = {}
    """Resource limits that the service runs under (`disk_mb`: the size of $DATA); the intervention lifts them."""
    good_environment: dict[str, str] | None = None
    """Set where good and bad differ in configuration only (ConfigChange); None: the same as `environment`."""

    @field_validator("directory")
    @classmethod
    def _inside(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or "\0" in value:
            raise ValueError("must be a folder inside the repository")
        return value

    @model_validator(mode="before")
    @classmethod
    def _no_nones(cls, value: Any) -> Any:
        return {k: v for k, v in value.items() if v is not None} if isinstance(value, dict) else value
