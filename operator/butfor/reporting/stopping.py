"""Trees in which nothing starts, though every word of them is there: a test that still answers only reads."""

from __future__ import annotations

import tempfile
from pathlib import Path

from git.exc import GitCommandError

from butfor.errors import InfrastructureError
from butfor.ports.repositories import Repository

MAXIMUM_FILES = 20_000
REGULAR = ("100644", "100755")


def stopped_tree(repository: Repository, revision: str, salt: str) -> str | None:
    """The id of the revision's tree with every Python file ended at its first line; None where there is none.

    `salt` makes the line one that nothing can know. Raises InfrastructureError where git cannot write.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="butfor-stopped-") as scratch:
            return _written(repository, revision, f"raise SystemExit({salt!r})\n".encode(), Path(scratch))
    except GitCommandError as error:
        raise InfrastructureError(f"git could not write a tree: {str(error.stderr).strip()[:300]}") from error


def _written(repository: Repository, revision: str, line: bytes, scratch: Path) -> str | None:
    git, entries = repository.git, _python(repository, revision)
    if not entries:
        return None
    names = []
    for number, (_, path) in enumerate(entries):
        names.append(scratch / str(number))
        names[-1].write_bytes(line + (repository.show(revision, path) or b""))
    (scratch / "names").write_text("".join(f"{name}\n" for name in names))
    with (scratch / "names").open("rb") as stream:
        blobs = str(git.hash_object("-w", "--no-filters", "--stdin-paths", istream=stream)).split()
    rows = [f"{mode} {blob}\t{path}\0" for (mode, path), blob in zip(entries, blobs, strict=True)]
    (scratch / "entries").write_bytes("".join(rows).encode("utf-8", "surrogateescape"))
    with git.custom_environment(GIT_INDEX_FILE=str(scratch / "index")):
        git.read_tree(revision)
        with (scratch / "entries").open("rb") as stream:
            git.update_index("-z", "--index-info", istream=stream)
        return str(git.write_tree()).strip()


def _python(repository: Repository, revision: str) -> list[tuple[str, str]]:
    """Mode and path of every regular Python file."""
    listed = repository.git.ls_tree("-r", "-z", revision, stdout_as_string=False).decode("utf-8", "surrogateescape")
    rows = [row.partition("\t") for row in listed.split("\0") if row.endswith(".py")]
    return [(head.split()[0], path) for head, _, path in rows if head.split()[0] in REGULAR][:MAXIMUM_FILES]
