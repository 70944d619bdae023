"""Writing a patch that `git apply` accepts: overlay against revision, as a unified diff with git's headers."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping

from butfor.patching.edits import split

NO_NEWLINE = b"\\ No newline at end of file\n"


def unified(read: Callable[[str], bytes | None], overlay: Mapping[str, bytes | None]) -> bytes:
    """The diff from what `read` gives to the overlay, paths in order; files that are the same are left out."""
    parts = [_file(path, read(path), overlay[path]) for path in sorted(overlay)]
    return b"".join(parts)


def _file(path: str, old: bytes | None, new: bytes | None) -> bytes:
    if old == new:
        return b""
    name = path.encode("utf-8", "surrogateescape")
    before, after = _quoted(b"a/" + name), _quoted(b"b/" + name)
    header = [b"diff --git " + before + b" " + after + b"\n"]
    if old is None:
        header.append(b"new file mode 100644\n")
    if new is None:
        header.append(b"deleted file mode 100644\n")
    names = (b"/dev/null" if old is None else before, b"/dev/null" if new is None else after)
    body = list(_body(split(old or b""), split(new or b"")))
    if body:
        header += [b"--- " + names[0] + _tab(name) + b"\n", b"+++ " + names[1] + _tab(name) + b"\n"]
    return b"".join(header + body)


def _tab(name: bytes) -> bytes:
    # git ends a file name that holds blanks with a tab, so that no reader takes its rest for a time stamp
    return b"\t" if b" " in name else b""


def _quoted(name: bytes) -> bytes:
    if all(31 < byte < 127 and byte not in b'"\\' for byte in name) or not any(b < 32 or b in b'"\\' for b in name):
        return name
    escaped = b"".join(b"\\%03o" % b if b < 32 or b > 126 or b in b'"\\' else bytes([b]) for b in name)
    return b'"' + escaped + b'"'


def _body(old: list[bytes], new: list[bytes]) -> list[bytes]:
    out: list[bytes] = []
    for group in difflib.SequenceMatcher(None, old, new, autojunk=len(old) > 4000).get_grouped_opcodes(3):
        first, last = group[0], group[-1]
        out.append(b"@@ -%s +%s @@\n" % (_range(first[1], last[2]), _range(first[3], last[4])))
        for tag, i1, i2, j1, j2 in group:
            if tag == "equal":
                out += [_line(b" ", line) for line in old[i1:i2]]
            else:
                out += [_line(b"-", line) for line in old[i1:i2]] + [_line(b"+", line) for line in new[j1:j2]]
    return out


def _range(start: int, stop: int) -> bytes:
    length = stop - start
    first = start + 1 if length else start
    return b"%d" % first if length == 1 else b"%d,%d" % (first, length)


def _line(mark: bytes, line: bytes) -> bytes:
    return mark + line if line.endswith(b"\n") else mark + line + b"\n" + NO_NEWLINE
