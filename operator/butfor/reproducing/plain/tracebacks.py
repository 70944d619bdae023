"""The exceptions that a run showed, and whether one of them is the captured failure's.

They are read from span events and log records of the spool, tied to a request by its trace id; a service that
could not be injected leaves only the tracebacks of its log. Standard library only.
"""

from __future__ import annotations

import difflib
import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FILE_LIMIT = 64 * 1024 * 1024
LOG_LIMIT = 4 * 1024 * 1024
MESSAGE_SIMILARITY = 0.75
"""Share of equal words at which two messages raised in the *same function of the same file* count as one."""
_MOUNT = re.compile(r"^/srv/[^/]+/worktree/")
_FRAME = re.compile(r'^\s*(?:\|\s*)*File "(?P<file>[^"]+)", line (?P<line>\d+), in (?P<function>\S+)')
_FINAL = re.compile(r"^\s*(?:\|\s*)*(?P<type>[A-Za-z_][\w.]*)(?:: (?P<message>.*))?$")
_CHAINED = ("The above exception was the direct cause", "During handling of the above exception")
Seen = dict[str, Any]
"""types (root cause first), message, frames [[file, line, function]] outermost first, escaped, service."""


def from_spool(spool: Path, roots: list[str]) -> dict[str, list[Seen]]:
    """Return the exceptions of each trace. `roots` are folders that stand for the repository's root."""
    found: dict[str, list[Seen]] = {}
    for name, part in (("spans", "resourceSpans"), ("logs", "resourceLogs")):
        for line in _lines(spool, f"{name}-*.jsonl"):
            for trace, seen in _of_line(line, part, roots):
                found.setdefault(trace, []).append(seen)
    return found


def from_log(text: str, roots: list[str]) -> list[Seen]:
    """Return the exceptions whose tracebacks a log holds, each chain's root cause first."""
    found: list[Seen] = []
    chained = False
    for block, after in _blocks(text.splitlines()):
        seen = _parsed(block, roots)
        if seen is None:
            continue
        if chained and found:
            found[-1]["types"].extend(seen["types"])
            if not _inside(found[-1]["frames"]):
                found[-1]["frames"] = [*_inside(seen["frames"]), *found[-1]["frames"]]
        else:
            found.append(seen)
        chained = any(mark in after for mark in _CHAINED)
    return found


def _inside(frames: list[list[Any]]) -> list[list[Any]]:
    """Return the frames down to the innermost one inside the repository; none where none is inside."""
    last = max((n for n, frame in enumerate(frames) if frame[3]), default=-1)
    return frames[: last + 1]


def matches(predicate: dict[str, Any], seen: Seen, renames: dict[str, str]) -> str:
    """Return an empty string if `seen` is the predicate's exception, else in one line why it is not.

    The root cause's type must be equal; so must function or file of the innermost frame in the repository
    (`renames` maps file names of other revisions to the predicate's); and the message its template, where a
    drifted wording passes only in the same function of the same file.
    """
    wanted = predicate.get("exception_types") or []
    if wanted and _last(wanted[0]) not in {_last(name) for name in seen["types"]}:
        return f"another exception: {described(seen)}"
    same_function, same_file = _places(predicate.get("frame"), seen, renames)
    if not (same_function or same_file):
        return f"raised elsewhere: {described(seen)}"
    template = predicate.get("message_template")
    if template and not _same_message(template, seen["message"], loosely=same_function and same_file):
        return f"another message: {described(seen)}"
    return ""


def described(seen: Seen) -> str:
    """Return type, message and place on one line."""
    frame = innermost(seen)
    place = f" in {frame[2]} ({frame[0]})" if frame else ""
    return f"{_last(seen['types'][0])}: {seen['message'][:120]}{place}".replace("\n", " ")


def innermost(seen: Seen) -> list[Any] | None:
    """Return the innermost frame inside the repository, else the innermost one, else None."""
    inside = [frame for frame in seen["frames"] if frame[3]]
    frames = inside or seen["frames"]
    return frames[-1] if frames else None


def relative(file: str, roots: list[str]) -> tuple[str, bool]:
    """Return a frame's file relative to the repository's root where it lies in it, and whether it does."""
    mounted = _MOUNT.sub("", file)
    if mounted != file and not _installed(mounted):
        return mounted, True
    for root in roots:
        if file.startswith(root.rstrip("/") + "/") and not _installed(file):
            return file[len(root.rstrip("/")) + 1 :], True
    return file, False


def _installed(file: str) -> bool:
    # the recording code lies in the tree where a reproduction was put into it
    return any(part in file for part in ("/site-packages/", "/dist-packages/", "/inject/butfor_inject/"))


def _places(frame: dict[str, Any] | None, seen: Seen, renames: dict[str, str]) -> tuple[bool, bool]:
    if not frame:
        return True, True
    here = innermost(seen)
    if here is None:
        return False, False
    file, wanted = renames.get(here[0], here[0]), relative(frame["file"], [])[0]
    same_file = file == wanted or (not frame.get("in_repository", True) and Path(file).name == Path(frame["file"]).name)
    return _last(str(here[2])) == _last(frame["function"]), same_file


def _same_message(template: str, message: str, *, loosely: bool) -> bool:
    template, message = _first_line(template), _first_line(message)
    pattern = ".*".join(re.escape(part) for part in re.split(r"(?:<\*>)+", template))
    if re.fullmatch(pattern, message):
        return True
    words = difflib.SequenceMatcher(None, template.split(), message.split())
    return loosely and words.ratio() >= MESSAGE_SIMILARITY


def _first_line(text: str) -> str:
    return (text.strip().splitlines() or [""])[0]


def _last(name: str) -> str:
    return name.rsplit(".", 1)[-1]


def _lines(spool: Path, pattern: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of the spool's files; a line that a killed process left half written is skipped."""
    for path in sorted(spool.rglob(pattern)):
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as lines:
            for raw in lines.read(FILE_LIMIT).splitlines():
                value = _object(raw)
                if value is not None:
                    yield value


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _of_line(line: dict[str, Any], part: str, roots: list[str]) -> Iterator[tuple[str, Seen]]:
    spans = part == "resourceSpans"
    for resource in _dicts(line.get(part)):
        service = str(_attributes(resource.get("resource") or {}).get("service.name", ""))
        for scope in _dicts(resource.get("scopeSpans" if spans else "scopeLogs")):
            for record in _dicts(scope.get("spans" if spans else "logRecords")):
                for event in _dicts(record.get("events")) if spans else [record]:
                    seen = _seen(_attributes(event), service, roots)
                    if seen is not None:
                        yield str(record.get("traceId", "")), seen


def _seen(attributes: dict[str, Any], service: str, roots: list[str]) -> Seen | None:
    if not attributes.get("exception.type"):
        return None
    text = str(attributes.get("exception.stacktrace", ""))
    parsed = next(iter(from_log(text, roots)), None)
    frames = _loaded(attributes.get("butfor.exception.frames"))
    types = [str(name) for name in _loaded(attributes.get("butfor.exception.types"))]
    message = str(attributes.get("exception.message", ""))
    chained = parsed is not None and len(parsed["types"]) > 1
    framed = _framed(frames, roots)
    if parsed and not _inside(framed) and (not framed or _inside(parsed["frames"])):
        framed = parsed["frames"]  # a library raised and caught the root within itself: the text names its callers
    return {
        "types": types or (parsed["types"] if parsed else [str(attributes["exception.type"])]),
        "message": parsed["message"] if parsed and chained else message,
        "frames": framed,
        "escaped": str(attributes.get("exception.escaped", "")).lower() == "true",
        "service": service,
    }


def _framed(frames: list[Any], roots: list[str]) -> list[list[Any]]:
    whole = [frame for frame in frames if isinstance(frame, list) and len(frame) >= 3]
    return [[*_first(str(file), line, function, roots)] for file, line, function, *_ in whole]


def _first(file: str, line: Any, function: Any, roots: list[str]) -> tuple[str, int, str, bool]:
    name, inside = relative(file, roots)
    return name, int(line) if str(line).isdigit() else 0, str(function), inside


def _loaded(value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    try:
        loaded = json.loads(value) if isinstance(value, str) else []
    except ValueError:
        return []
    return loaded if isinstance(loaded, list) else []


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _attributes(holder: dict[str, Any]) -> dict[str, Any]:
    """Return OTLP/JSON attributes as plain values."""
    return {str(item.get("key")): _plain(item.get("value")) for item in _dicts(holder.get("attributes"))}


def _plain(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "arrayValue" in value:
        return [_plain(item) for item in _dicts((value["arrayValue"] or {}).get("values"))]
    return next(iter(value.values()), None)


def _blocks(lines: list[str]) -> Iterator[tuple[list[str], str]]:
    """Yield each traceback of a log as its lines, and the text that follows it (says whether it is chained)."""
    starts = [n for n, line in enumerate(lines) if "Traceback (most recent call last)" in line]
    for start, end in itertools.pairwise([*starts, len(lines)]):
        yield lines[start + 1 : end], "\n".join(lines[max(start + 1, end - 4) : end])


def _parsed(block: list[str], roots: list[str]) -> Seen | None:
    frames: list[list[Any]] = []
    for line in block:
        frame = _FRAME.match(line)
        if frame:
            frames.append([*_first(frame["file"], frame["line"], frame["function"], roots)])
            continue
        final = _FINAL.match(line)
        indented = line.lstrip("| ")[:1] == "" or line.startswith("    ")
        if frames and final and not indented:
            message = final["message"] or ""
            return {"types": [final["type"]], "message": message, "frames": frames, "escaped": False, "service": ""}
    return None
