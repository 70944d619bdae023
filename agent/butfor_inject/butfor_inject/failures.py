"""Exceptions as attributes: type, message, stack text, and the root cause's frames."""

from __future__ import annotations

import json
import os
from typing import Any, Iterator

MESSAGE_LIMIT = 8_192
STACK_LIMIT = 65_536
FRAME_LIMIT = 200
CHAIN_LIMIT = 32

_OWN = os.path.dirname(os.path.abspath(__file__)) + os.sep

describing = False
"""True while we format a traceback ourselves, so that our own hooks leave it alone."""


def type_name(kind: type) -> str:
    """Module-qualified, except for builtins."""
    module = getattr(kind, "__module__", "builtins")
    name: str = getattr(kind, "__qualname__", kind.__name__)
    return name if module in ("builtins", None) else f"{module}.{name}"


def chain(error: BaseException) -> list[BaseException]:
    """From `error` to its root cause: explicit cause, else context, else a group's first member."""
    links, seen = [error], {id(error)}
    while len(links) < CHAIN_LIMIT:
        following = _beneath(links[-1])
        if following is None or id(following) in seen:
            break
        links.append(following)
        seen.add(id(following))
    return links


def _beneath(error: BaseException) -> BaseException | None:
    if error.__cause__ is not None:
        return error.__cause__
    if error.__context__ is not None and not error.__suppress_context__:
        return error.__context__
    members = getattr(error, "exceptions", None)
    if isinstance(members, tuple) and members and isinstance(members[0], BaseException):
        return members[0]
    return None


def place(code: Any, line: int | None) -> list[Any]:
    """`[file, line, qualified function name]` of a code object at a line."""
    name = code.co_filename
    if not name.startswith("<") and not os.path.isabs(name) and os.path.exists(name):
        name = os.path.abspath(name)
    return [name, line or code.co_firstlineno, getattr(code, "co_qualname", code.co_name)]


def ours(code: Any) -> bool:
    """Whether a code object belongs to this package, whose frames say nothing about the service."""
    return bool(code.co_filename.startswith(_OWN))


def _frames(traceback: Any) -> Iterator[list[Any]]:
    while traceback is not None:
        if not ours(traceback.tb_frame.f_code):
            yield place(traceback.tb_frame.f_code, traceback.tb_lineno)
        traceback = traceback.tb_next


def bounded(frames: list[Any]) -> list[Any]:
    """At most FRAME_LIMIT frames: the outermost few and the innermost rest."""
    return frames if len(frames) <= FRAME_LIMIT else frames[:40] + frames[40 - FRAME_LIMIT :]


def message(error: BaseException) -> str:
    """The exception's own text, bounded; a text that cannot be made is said so."""
    try:
        return str(error)[:MESSAGE_LIMIT]
    except Exception:  # noqa: BLE001 - __str__ is the service's own code
        return "<no message: its __str__ failed>"


def _stack(error: BaseException) -> str:
    global describing  # noqa: PLW0603 - one flag for the process is enough: hooks only skip a record
    import traceback

    describing = True
    try:
        text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    except Exception as problem:  # noqa: BLE001 - formatting runs the service's __repr__ and __str__
        return f"<no stack text: {type(problem).__name__}>"
    finally:
        describing = False
    return text if len(text) <= STACK_LIMIT else text[: STACK_LIMIT // 4] + "\n...\n" + text[-STACK_LIMIT // 2 :]


def describe(error: BaseException, source: str, *, escaped: bool = False) -> dict[str, Any]:
    """The attributes of spool.md's `exception` event; `source` is `span_event`, `log` or `raised`."""
    links = chain(error)
    root = links[-1]
    return {
        "exception.type": type_name(type(error)),
        "exception.message": message(error),
        "exception.stacktrace": _stack(error),
        "exception.escaped": "true" if escaped else "false",
        "butfor.exception.source": source,
        "butfor.exception.frames": json.dumps(bounded(list(_frames(root.__traceback__)))),
        "butfor.exception.types": json.dumps([type_name(type(link)) for link in reversed(links)]),
        "butfor.exception.root_message": message(root),
    }
