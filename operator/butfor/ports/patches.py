"""Applying a patch file to a tree, as `git apply` does, without a worktree."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from butfor.errors import UserError
from butfor.evidence.runs import Tree
from butfor.ports.repositories import Repository

MAXIMUM_PATCH = 8 * 1024 * 1024


def apply_patch(repository: Repository, tree: Tree, patch: bytes, *, context: bool = True) -> Tree:
    """`tree` with a git-format patch applied on its revision; UserError where it does not apply.

    git itself refuses paths that leave the tree or run through symbolic links. `context`: hunks must have some lines
    around them (False: take those of a diff without).
    """
    if len(patch) > MAXIMUM_PATCH:
        raise UserError(f"the patch is larger than {MAXIMUM_PATCH} bytes; it is not applied")
    with tempfile.TemporaryDirectory(prefix="butfor-patch-") as scratch:
        environment = {"GIT_INDEX_FILE": str(Path(scratch) / "index")}
        _git(repository, environment, "read-tree", tree.revision)
        options = ["--cached", "--whitespace=nowarn", *([] if context else ["--unidiff-zero"])]
        _git(repository, environment, "apply", *options, "-", stdin=patch)
        made = _git(repository, environment, "write-tree").decode().strip()
    return Tree(revision=tree.revision, overlay={**tree.overlay, **repository.tree_files(tree.revision, made)})


def _git(repository: Repository, environment: dict[str, str], *arguments: str, stdin: bytes = b"") -> bytes:
    done = subprocess.run(
        repository.command(*arguments), input=stdin, capture_output=True, check=False, cwd=repository.path,
        env={**repository.environment(), **environment},
    )  # fmt: skip
    if done.returncode:
        message = done.stderr.decode("utf-8", "replace").strip().splitlines() or ["no message"]
        raise UserError(f"the patch does not apply to {repository.source}: {message[0][:200]}")
    return done.stdout
