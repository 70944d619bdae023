"""Stack trace text into exceptions and frames: Python (chains, groups), and best effort Java, Go and Node."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MAX_TEXT = 256 * 1024
MAX_FRAMES = 400
"""Frames kept per exception: the outermost and innermost halves of a deeper stack."""

RawFrame = tuple[str, int, str]
"""file as printed, line, function."""


@dataclass
class Raised:
    """One exception of a chain: its type and message as printed, its frames outermost first."""

    type: str
    message: str
    frames: list[RawFrame] = field(default_factory=list)


_PY_HEADER = "Traceback (most recent call last):"
_PY_FRAME = re.compile(r'^  +File "([^"\n]{1,4096})", line (\d{1,9})(?:, in (.{1,300}))?$')
_PY_ERROR = re.compile(r"^([A-Za-z_][\w.<>]{0,300})(?:: ?(.*))?$", re.DOTALL)
_PY_CAUSES = (
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)
_GROUP_MARGIN = re.compile(r"^ *(?:\| ?|\+ (?=Exception Group))")
_GROUP_RULE = re.compile(r"^[ |]*\+-[-+ \d.]*$")
_JAVA_FRAME = re.compile(r"^\s+at (?:[\w.\-@]+/{1,2})*([\w.$<>]{1,300})\(([\w.$\- ]{1,200}?)(?::(\d{1,9}))?\)$")
_JAVA_ERROR = re.compile(
    r"^(?:Caused by: |Exception in thread \"[^\"]{0,200}\" )?([A-Za-z_$][\w.$]{0,300})(?:: (.*))?$"
)
_NODE_FRAME = re.compile(r"^\s+at (?:async )?(?:(.{1,300}?) \()?((?:file://)?[^()\s]{1,2000}):(\d{1,9}):\d{1,9}\)?$")
_GO_FUNCTION = re.compile(r"^([\w./\-()*%]{1,300}?)\([^)]{0,2000}\)$")
_GO_PLACE = re.compile(r"^\t(\S{1,2000}):(\d{1,9})(?: \+0x[0-9a-f]+)?$")


def parse(text: str) -> list[Raised]:
    """The exceptions of a stack trace, the root cause first; empty for text that is no stack trace."""
    text = text[:MAX_TEXT]
    lines = text.splitlines()
    if _PY_HEADER in text or any(_PY_FRAME.match(line) for line in lines[:4]):
        return _python(lines)
    if any(_GO_PLACE.match(line) for line in lines):
        return _go(lines)
    if any(_NODE_FRAME.match(line) for line in lines):
        return _node(lines)
    return _java(lines)


def _python(lines: list[str]) -> list[Raised]:
    """Blocks in printed order: Python prints the root cause first. A group comes after its members."""
    chain: list[Raised] = []
    group = any(_GROUP_RULE.match(line) for line in lines)
    frames: list[RawFrame] = []
    error: list[str] = []
    for line in [*(_unmargined(line) if group else line for line in lines), _PY_HEADER]:
        if _PY_HEADER in line or line in _PY_CAUSES:
            _close(chain, frames, error, bare=group)
            frames, error = [], []
        elif frame := _PY_FRAME.match(line):
            if not error:
                frames.append((frame[1], int(frame[2]), frame[3] or "<module>"))
        elif error or (line[:1] not in ("", " ") and _PY_ERROR.match(line)):
            error.append(line)
    return [*chain[1:], chain[0]] if group and len(chain) > 1 else chain


def _unmargined(line: str) -> str:
    """A group's member without its margin; the rule between members begins a block."""
    if _GROUP_RULE.match(line):
        return _PY_HEADER
    while (margin := _GROUP_MARGIN.match(line)) and margin.end():
        line = line[margin.end() :]
    return line


def _close(chain: list[Raised], frames: list[RawFrame], error: list[str], *, bare: bool) -> None:
    """End a block; only a group's member (`bare`) may have been printed without a stack."""
    found = _PY_ERROR.match("\n".join(error).rstrip()) if error else None
    if found and (frames or bare or not chain):
        chain.append(Raised(found[1], (found[2] or "").strip(), _bounded(frames)))


def _bounded(frames: list[RawFrame]) -> list[RawFrame]:
    half = MAX_FRAMES // 2
    return frames if len(frames) <= MAX_FRAMES else frames[:half] + frames[-half:]


def _java(lines: list[str]) -> list[Raised]:
    """Java prints the root cause last, and frames innermost first."""
    chain: list[Raised] = []
    for line in lines:
        if frame := _JAVA_FRAME.match(line):
            if chain:
                chain[-1].frames.append(_java_frame(frame))
        elif not line[:1].isspace() and (error := _JAVA_ERROR.match(line)):
            chain.append(Raised(error[1], error[2] or ""))
    for raised in chain:
        raised.frames = _bounded(raised.frames[::-1])
    return [raised for raised in reversed(chain) if raised.frames]


def _java_frame(match: re.Match[str]) -> RawFrame:
    """The source file is printed without its folder, which is the package's."""
    package = match[1].split(".")[:-2]
    return "/".join([*package, match[2]]), int(match[3] or 0), match[1]


def _node(lines: list[str]) -> list[Raised]:
    head = next((line for line in lines if line and not line[0].isspace() and ":" in line), "Error")
    found = _JAVA_ERROR.match(head)
    frames = [
        (frame[2].removeprefix("file://"), int(frame[3]), frame[1] or "<anonymous>")
        for line in lines
        if (frame := _NODE_FRAME.match(line))
    ]
    return [Raised(found[1] if found else "Error", (found[2] or "") if found else head, _bounded(frames[::-1]))]


def _go(lines: list[str]) -> list[Raised]:
    """The first goroutine; frames of the runtime's own panic are above the place that panicked."""
    head = next((line for line in lines if line.startswith("panic: ")), "")
    frames: list[RawFrame] = []
    function = ""
    for line in lines:
        if place := _GO_PLACE.match(line):
            frames.append((place[1], int(place[2]), function))
        elif called := _GO_FUNCTION.match(line):
            function = called[1]
        elif not line.strip() and frames:
            break
    panics = [i for i, frame in enumerate(frames) if frame[2] == "panic"]
    frames = frames[panics[-1] + 1 :] if panics else frames
    return [Raised("panic" if head else "error", head.removeprefix("panic: "), _bounded(frames[::-1]))]
