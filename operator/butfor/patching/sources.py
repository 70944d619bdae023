"""Which files a program runs from, and whether a content can run at all."""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import PurePosixPath

LEFT_OUT_FOLDERS = frozenset({
    "test", "tests", "testing", "doc", "docs", "example", "examples", "bench", "benchmarks", "changes", "changelog",
    "newsfragments", "news", ".github", ".circleci", ".vscode",
})  # fmt: skip
LEFT_OUT_SUFFIXES = frozenset({".md", ".rst", ".txt", ".lock", ".po", ".pot", ".pyi"})
LEFT_OUT_NAMES = ("changes", "changelog", "history", "license", "authors", "contributors", "readme", "news", "conftest")


def is_source(path: str) -> bool:
    """Whether a running service can depend on this file; docs, tests, stubs and change logs are told by their names."""
    pure = PurePosixPath(path)
    if any(part.lower() in LEFT_OUT_FOLDERS for part in pure.parts[:-1]) or pure.suffix in LEFT_OUT_SUFFIXES:
        return False
    stem = pure.stem.lower()
    named = stem.startswith("test_") or stem.endswith("_test") or stem in LEFT_OUT_NAMES
    return not named and not pure.name.startswith(".")


def is_python(path: str) -> bool:
    """Whether the file is Python source."""
    return path.endswith((".py", ".pyi"))


@lru_cache(maxsize=48)
def parsed(content: bytes) -> ast.Module | None:
    """The syntax tree (shared: not to be changed), None where there is none (hostile input can be too deep)."""
    try:
        return ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def could_run(path: str, content: bytes | None) -> bool:
    """Whether a file is at least well-formed; only Python can be told."""
    return content is None or not is_python(path) or parsed(content) is not None
