"""Reading git histories; the repository under investigation is never written and its configuration never trusted.

Everything goes through a private bare clone that borrows the source's objects, so that neither hooks, filters,
fsmonitor, textconv nor any other local configuration of the source is in force. git itself is driven through
GitPython's command wrapper.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

from git import Git
from git.exc import GitCommandError, GitCommandNotFound

from butfor.errors import InfrastructureError, UserError
from butfor.ports import diffs
from butfor.ports.blobs import MAXIMUM_BLOB, Blobs
from butfor.ports.diffs import FileChange

SAFE_ENVIRONMENT: Mapping[str, str] = {
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "butfor",
    "GIT_AUTHOR_EMAIL": "butfor@localhost",
    "GIT_COMMITTER_NAME": "butfor",
    "GIT_COMMITTER_EMAIL": "butfor@localhost",
    "GIT_AUTHOR_DATE": "2000-01-01T00:00:00Z",
    "GIT_COMMITTER_DATE": "2000-01-01T00:00:00Z",
    "LC_ALL": "C.UTF-8",
}
SAFE_CONFIG = (
    "safe.directory=*",
    f"core.hooksPath={os.devnull}",
    "core.fsmonitor=false",
    "core.quotePath=false",
    "protocol.allow=never",
    "protocol.file.allow=always",
    "log.showSignature=false",
    "diff.external=",
    "submodule.recurse=false",
)


@dataclass(frozen=True)
class Commit:
    """A commit of the range; `subject` is the first line, `author_date` ISO 8601."""

    sha: str
    parents: tuple[str, ...]
    subject: str
    author_date: str
    message: str


@dataclass(frozen=True)
class BlameLine:
    """Who last touched a line: at `sha` it was `original_line` of `path`. Lines count from 1."""

    sha: str
    path: str
    line: int
    original_line: int
    text: str


@dataclass(frozen=True)
class MergeResult:
    """A 3-way merge: `files` differ from ours (None: deleted); `conflicts` hold markers and are left out of it."""

    files: dict[str, bytes | None] = field(default_factory=dict)
    conflicts: list[str] = field(default_factory=list)


def find_git_dir(source: Path) -> Path:
    """The git directory of a clone, a bare repository, a linked worktree, or a folder with `repo` inside."""
    for candidate in (source, source / "repo"):
        if (candidate / "HEAD").is_file() and (candidate / "objects").is_dir():
            return candidate.resolve()
        if (candidate / ".git").exists():
            common = _git(candidate).rev_parse("--path-format=absolute", "--git-common-dir")
            return Path(str(common)).resolve()
    raise UserError(f"{source} is not a git repository; give --repo a clone or a bare repository")


def _git(folder: Path) -> Git:
    git = Git(str(folder))
    git.update_environment(**SAFE_ENVIRONMENT)
    git.set_persistent_git_options(c=list(SAFE_CONFIG))
    return git


class Repository:
    """A history that can be read; holds a private bare clone in `scratch` until `close`."""

    def __init__(self, source: Path, scratch: Path | None = None) -> None:
        self.source = find_git_dir(source)
        self._temporary = None if scratch else tempfile.TemporaryDirectory(prefix="butfor-git-")
        folder = scratch or Path(self._temporary.name if self._temporary else "")
        self.path = folder / "history.git"
        if not self.path.exists():
            self._clone()
        self.git = _git(self.path)
        self._blobs = Blobs(_git(self.path), self._read_alone)

    def _clone(self) -> None:
        try:
            _git(self.path.parent).clone("--quiet", "--bare", "--shared", "--", str(self.source), str(self.path))
        except GitCommandNotFound as error:
            raise UserError("git is not installed; install the package git") from error
        except GitCommandError as error:
            raise UserError(f"cannot read the repository {self.source}: {_first_line(error)}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the readers, and remove the private clone where this object made the folder for it."""
        self._blobs.close()
        if self._temporary:
            self._temporary.cleanup()

    def _run(self, *arguments: str) -> bytes:
        try:
            return bytes(
                self.git.execute(self.command(*arguments), stdout_as_string=False, strip_newline_in_stdout=False)
            )
        except GitCommandError as error:
            raise InfrastructureError(f"git {arguments[0]} failed: {_first_line(error)}") from error

    def command(self, *arguments: str) -> list[str]:
        """A git command line with every setting that a repository could abuse turned off."""
        options = [part for setting in SAFE_CONFIG for part in ("-c", setting)]
        return ["git", *options, *arguments]

    @staticmethod
    def environment() -> dict[str, str]:
        """The environment for such a command line: the caller's, less anything that steers git."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
        return {**kept, **SAFE_ENVIRONMENT}

    def _text(self, *arguments: str) -> str:
        return self._run(*arguments).decode("utf-8", "surrogateescape")

    def resolve(self, revision: str) -> str:
        """The full sha of a commit; looked up in the source, whose refs may be richer than the clone's."""
        if revision.startswith("-") or not revision.strip():
            raise UserError(f"{revision!r} is not a revision")
        try:
            found = _git(self.source).rev_parse("--verify", "--quiet", "--end-of-options", revision + "^{commit}")
        except GitCommandError as error:
            shallow = (self.source / "shallow").exists()
            advice = "the clone is shallow: git fetch --unshallow" if shallow else "fetch it, or check the name"
            raise UserError(f"revision {revision!r} is not in {self.source}; {advice}") from error
        return str(found).strip().splitlines()[-1]

    def commits(self, good: str, bad: str) -> list[Commit]:
        """Every commit of `good..bad`, newest first in topological order, merges included."""
        form = "%H%x1f%P%x1f%aI%x1f%s%x1f%B%x00"
        text = self._text("log", "--topo-order", "--no-color", f"--format={form}", f"{good}..{bad}", "--")
        return [_commit(record) for record in text.split("\0") if record.strip()]

    def parents(self, sha: str) -> list[str]:
        """The parents of a commit, first parent first."""
        return self._text("rev-list", "--parents", "-n", "1", sha, "--").split()[1:]

    def is_ancestor(self, older: str, newer: str) -> bool:
        """Whether `older` is `newer` or reachable from it."""
        return self.merge_base(older, newer) == older

    def merge_base(self, one: str, other: str) -> str | None:
        """A best common ancestor, or None for unrelated histories."""
        try:
            found = self._text("merge-base", one, other).split()
        except InfrastructureError:
            return None
        return found[0] if found else None

    def changes(self, commit: str) -> list[FileChange]:
        """What one commit changed against its first parent; for a merge only what the merge itself changed."""
        return self.range_changes(f"{commit}^!").get(commit, [])

    def range_changes(self, revisions: str) -> dict[str, list[FileChange]]:
        """Per commit of a range (`good..bad`) its file changes with hunks without context, in one git process."""
        text = self._text(
            "log", "--no-color", "--format=%x00%H", "-p", "-U0", "-M", "--diff-merges=remerge",
            "--no-ext-diff", "--no-textconv", "--full-index", "--submodule=short", revisions, "--",
        )  # fmt: skip
        return dict(_log_records(text))

    def diff(self, old: str, new: str, paths: list[str] | None = None) -> str:
        """A unified diff between two trees, git-apply-able."""
        return self._text(
            "diff", "--no-color", "--no-ext-diff", "--no-textconv", "--full-index", "-M", old, new, "--", *(paths or [])
        )

    def changed_files(self, old: str, new: str) -> list[FileChange]:
        """File changes between two trees with hunks without context."""
        return diffs.parse(
            self._text("diff", "--no-color", "--no-ext-diff", "--no-textconv", "-U0", "-M", old, new, "--")
        )

    def renames(self, old: str, new: str) -> dict[str, str]:
        """Old path to new path for files that git sees as moved between two trees."""
        text = self._text("diff", "--no-ext-diff", "--name-status", "-z", "-M", "--diff-filter=R", old, new, "--")
        parts = text.split("\0")
        return {parts[i + 1]: parts[i + 2] for i in range(0, len(parts) - 2, 3)}

    def files(self, revision: str) -> list[str]:
        """Paths of all regular files of a tree."""
        entries = self._text("ls-tree", "-r", "-z", revision).split("\0")
        return [entry.split("\t", 1)[1] for entry in entries if entry.startswith("100")]

    def show(self, revision: str, path: str) -> bytes | None:
        """A file's bytes at a revision, None where there is none or it is larger than 16 MiB."""
        return self._blobs.read(f"{revision}:{path}")

    def _read_alone(self, name: str) -> bytes | None:
        try:
            if self._run("cat-file", "-t", name).strip() != b"blob":
                return None
            if int(self._run("cat-file", "-s", name)) > MAXIMUM_BLOB:
                return None
            return self._run("cat-file", "blob", name)
        except InfrastructureError:
            return None

    def blame(
        self, revision: str, path: str, *, since: str | None = None, ignore_whitespace: bool = True, follow: bool = True
    ) -> list[BlameLine]:
        """Blame of a whole file; `since` (a good revision) bounds the walk: its lines are blamed on that boundary."""
        options = (["-w"] if ignore_whitespace else []) + (["-M", "-C"] if follow else [])
        window = f"{since}..{revision}" if since else revision
        return list(diffs.parse_blame(self._text("blame", "--porcelain", *options, window, "--", path), BlameLine))

    def merge_files(self, base: str, ours: str, theirs: str) -> MergeResult:
        """A 3-way merge of three trees: what changes base..theirs brings to `ours`.

        git merge-tree derives the base from ancestry, so three commits are made (in the private clone) whose only
        common ancestor is the base.
        """
        root = self._commit_tree(base)
        mine, other = self._commit_tree(ours, root), self._commit_tree(theirs, root)
        text, conflicts = self._merge_tree(mine, other)
        files = {path: content for path, content in self.tree_files(ours, text).items() if path not in conflicts}
        return MergeResult(files=files, conflicts=sorted(conflicts))

    def tree_files(self, old: str, new: str) -> dict[str, bytes | None]:
        """The files of tree `new` that differ from tree or commit `old`; None for those it does not have."""
        changed = self._text(
            "diff-tree", "-r", "-z", "--name-only", "--no-renames", f"{old}^{{tree}}", f"{new}^{{tree}}"
        )
        return {path: self._blobs.read(f"{new}:{path}") for path in changed.split("\0") if path}

    def _commit_tree(self, revision: str, parent: str | None = None) -> str:
        options = ["-p", parent] if parent else []
        return self._text("commit-tree", f"{revision}^{{tree}}", *options, "-m", "butfor").strip()

    def _merge_tree(self, mine: str, other: str) -> tuple[str, set[str]]:
        command = self.command("merge-tree", "--write-tree", "--name-only", "-z", "--no-messages", mine, other)
        status, output, error = self.git.execute(
            command,
            with_extended_output=True,
            with_exceptions=False,
            stdout_as_string=False,
            strip_newline_in_stdout=False,
        )
        if status not in (0, 1):
            raise InfrastructureError(f"git merge-tree failed: {error}")
        tree, *conflicts = bytes(output).decode("utf-8", "surrogateescape").rstrip("\0").split("\0")
        return tree, {path for path in conflicts if path}

    @cached_property
    def is_shallow(self) -> bool:
        """Whether the source has only part of its history."""
        return (self.source / "shallow").exists()


def _commit(record: str) -> Commit:
    sha, parents, date, subject, message = record.lstrip("\n").split("\x1f", 4)
    return Commit(sha, tuple(parents.split()), subject, date, message)


def _log_records(text: str) -> Iterator[tuple[str, list[FileChange]]]:
    # a diff's own lines may hold NUL bytes only in files that git calls binary, so NUL + 40 hex starts a commit
    for record in text.split("\0"):
        sha, _, body = record.partition("\n")
        if len(sha) in (40, 64) and not set(sha) - set("0123456789abcdef"):
            yield sha, diffs.parse(body)


def _first_line(error: GitCommandError) -> str:
    lines = [line for line in str(error.stderr).strip(" \n'").splitlines() if line.strip()]
    return lines[-1].strip(" '")[:300] if lines else "no message"
