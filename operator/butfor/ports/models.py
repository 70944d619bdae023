"""The optional language model: an OpenAI-compatible endpoint that may propose a patch, checked as any other is.

Configured by BUTFOR_MODEL_BASE_URL, BUTFOR_MODEL and BUTFOR_MODEL_API_KEY; without them there is no model and
nothing is missing. Prompts are made of summaries. The answer is hostile input: bounded in bytes and time, and only
a unified diff of files that were named to it is handed on.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from pathlib import PurePosixPath

from unidiff.errors import UnidiffParseError
from unidiff.patch import PatchSet

MAXIMUM_DIFF_BYTES = 64 * 1024
MAXIMUM_FILES = 10
MAXIMUM_CHANGED_LINES = 400
MAXIMUM_SECTION = 12_000
"""Characters of one section of the prompt; the rest is cut, and the prompt says so."""
FENCE = re.compile(r"^```[ \t]*(?:diff|patch)?[ \t]*\n(.*?)^```[ \t]*$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Prompt:
    """The sections of a prompt, in this order; every one is a summary, never raw telemetry."""

    signature: str
    slice: str
    divergence: str
    candidates: str
    standards: str
    task: str

    def text(self) -> str:
        """The prompt as sent; a section that is too long is cut and says so."""
        return "\n\n".join(f"## {field.name}\n{_cut(getattr(self, field.name))}" for field in fields(self))


@dataclass(frozen=True)
class Proposal:
    """A diff that may be tried, or None and the reason why there is none."""

    diff: str | None
    reason: str = ""


def _cut(text: str) -> str:
    clean = text.strip() or "(nothing is known)"
    return clean if len(clean) <= MAXIMUM_SECTION else clean[:MAXIMUM_SECTION] + "\n(cut here)"


class Model:
    """One endpoint. `timeout_s` bounds a whole answer, however slowly it drips."""

    def __init__(self, base_url: str, name: str, key: str = "", timeout_s: float = 120.0) -> None:
        import openai  # noqa: PLC0415 - takes seconds, and seldom is a model configured

        from butfor.ports.transports import bounded_client  # noqa: PLC0415 - as above

        self.name = name
        self.timeout_s = timeout_s
        self._refused = openai.APIError
        self._client = openai.OpenAI(
            base_url=base_url, api_key=key or "none", max_retries=0, timeout=timeout_s,
            http_client=bounded_client(timeout_s),
        )  # fmt: skip

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Model | None:
        """The configured model, None where base URL or name is not set."""
        url, name = environment.get("BUTFOR_MODEL_BASE_URL", ""), environment.get("BUTFOR_MODEL", "")
        if not url.startswith(("http://", "https://")) or not name:
            return None
        return cls(url, name, environment.get("BUTFOR_MODEL_API_KEY", ""))

    def propose(self, prompt: Prompt, paths: Collection[str]) -> Proposal:
        """Ask for a patch of `paths`; never raises for what the endpoint does or answers."""
        try:
            answer = self._client.chat.completions.create(
                model=self.name, messages=[{"role": "user", "content": prompt.text()}], temperature=0
            )
            content = answer.choices[0].message.content
        except self._refused as error:
            # a refusal of the transport is the cause that the client wraps as a connection error
            return Proposal(None, f"the model did not answer: {_line(error.__cause__ or error)}")
        except (AttributeError, IndexError, TypeError, ValueError, RecursionError) as error:
            return Proposal(None, f"the model's answer is not a chat completion: {_line(error)}")
        if not isinstance(content, str):
            return Proposal(None, "the model's answer has no text")
        return read_answer(content, paths)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _line(error: BaseException) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


def read_answer(text: str, paths: Collection[str]) -> Proposal:
    """The one unified diff of an answer, checked: bounded, and of `paths` only."""
    blocks: list[str] = FENCE.findall(text)
    found = [block for block in blocks if "@@" in block] or ([text] if "@@" in text else [])
    if len(found) != 1:
        return Proposal(None, f"the answer holds {len(found)} diffs; one is wanted")
    diff = found[0]
    if len(diff.encode("utf-8", "surrogateescape")) > MAXIMUM_DIFF_BYTES:
        return Proposal(None, f"the diff is larger than {MAXIMUM_DIFF_BYTES} bytes")
    try:
        patch = PatchSet(diff)
    except (UnidiffParseError, ValueError, IndexError, TypeError) as error:
        return Proposal(None, f"the answer is not a unified diff: {_line(error)}")
    reason = _refused(patch, paths)
    return Proposal(None, reason) if reason else Proposal(diff)


def _refused(patch: PatchSet, paths: Collection[str]) -> str:
    if not 0 < len(patch) <= MAXIMUM_FILES:
        return f"the diff changes {len(patch)} files; 1 to {MAXIMUM_FILES} are allowed"
    if patch.added + patch.removed > MAXIMUM_CHANGED_LINES:
        return f"the diff changes {patch.added + patch.removed} lines; {MAXIMUM_CHANGED_LINES} are allowed"
    for file in patch:
        pure = PurePosixPath(file.path)
        if pure.is_absolute() or ".." in pure.parts:
            return f"{file.path[:100]!r} is not a path inside the repository"
        if file.path not in paths:
            return f"{file.path[:100]!r} is not one of the files that were shown"
        if file.is_binary_file or file.is_rename or file.is_removed_file:
            return f"{file.path[:100]!r}: binary changes, renames and deletions are not taken"
    return ""
