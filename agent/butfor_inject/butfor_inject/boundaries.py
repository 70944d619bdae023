"""Where failures of ours end: counted and noted, never raised into the service."""

from __future__ import annotations

from typing import Any, Callable

LIMIT = 50
"""Different notes kept per process; more are only counted under the last one."""

notes: dict[str, int] = {}
"""What went wrong with us, and how often; `process-*.json` shows it."""


def note(where: str, error: object) -> None:
    """Count a failure of ours."""
    text = f"{where}: {type(error).__name__}: {error}"[:300] if isinstance(error, BaseException) else where
    if text not in notes and len(notes) >= LIMIT:
        text = "more failures, not listed"
    notes[text] = notes.get(text, 0) + 1


def attempt(where: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What `function` returns, or None if it failed: then the failure is noted."""
    try:
        return function(*arguments)
    except Exception as error:  # noqa: BLE001 - the service must not see failures of ours
        note(where, error)
        return None
