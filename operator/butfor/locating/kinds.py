"""What a file is for, by its place and name alone: code that runs, data it reads, dependencies, tests, text."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Literal

from butfor.locating.sources import PYTHON

FileKind = Literal["code", "data", "dependency", "test", "text"]

_CODE = ".pyx .pxd .c .h .cc .cpp .hpp .rs .go .js .mjs .cjs .ts .tsx .jsx .java .kt .rb .php .lua .sh"
_DATA = (
    ".sql .html .htm .jinja .jinja2 .j2 .tpl .tmpl .mako .toml .yaml .yml .json .ini .cfg .conf .env .xml .proto "
    ".properties .graphql .csv"
)
_DEPENDENCY = (
    "requirements constraints setup.py setup.cfg pyproject.toml pipfile poetry.lock uv.lock package.json "
    "package-lock.json yarn.lock go.mod go.sum cargo.toml cargo.lock"
)
_TEST = "test tests testing_data benchmarks bench examples example"
_UNUSED = "docs doc changes news .github .circleci .gitlab ci .ci tools"
_TEXT = "changelog readme license changes makefile authors contributing"

CODE = frozenset((*PYTHON, *_CODE.split()))
DATA = frozenset(_DATA.split())
DEPENDENCY = tuple(_DEPENDENCY.split())
TEST_FOLDERS = frozenset(_TEST.split())
UNUSED_FOLDERS = frozenset(_UNUSED.split())
TEXT_NAMES = tuple(_TEXT.split())
LOCK_SUFFIXES, LOCK_NAMES = (".lock", ".sum"), frozenset({"package-lock.json", "npm-shrinkwrap.json", "pnpm-lock.yaml"})


def kind_of(path: str) -> FileKind:
    """What a file is for; unknown kinds of file are text."""
    pure = PurePosixPath(path.lower())
    folders = set(pure.parts[:-1])
    if folders & TEST_FOLDERS or pure.name.startswith(("test_", "conftest.")) or pure.stem.endswith("_test"):
        return "test"
    if pure.name.startswith(DEPENDENCY) or "requirements" in folders:
        return "dependency"
    if folders & UNUSED_FOLDERS or pure.name.startswith(TEXT_NAMES):
        return "text"
    if pure.suffix in CODE:
        return "code"
    return "data" if pure.suffix in DATA or pure.name.startswith(".env") else "text"


def is_lock(path: str) -> bool:
    """Whether a tool writes the file from what is asked for elsewhere: its lines are addresses and checksums."""
    pure = PurePosixPath(path.lower())
    return pure.suffix in LOCK_SUFFIXES or pure.name in LOCK_NAMES
