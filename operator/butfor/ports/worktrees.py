"""Worktrees of revisions, with files replaced, checked out of a private clone.

The user's repository is never written: a bare clone in the caller's scratch folder borrows its objects. Hooks,
filters, fsmonitor, submodules and every configuration but our own are off.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path, PurePosixPath

from butfor.errors import ButforError, InfrastructureError, UserError
from butfor.evidence.runs import Tree
from butfor.ports.repositories import SAFE_CONFIG, SAFE_ENVIRONMENT, find_git_dir

_CHECKOUT_CONFIG = ("core.symlinks=true", "core.longpaths=true", "gc.auto=0", "advice.detachedHead=false")
_SECONDS = 300
_FULL_ID = re.compile(r"[0-9a-f]{40}\Z")


class Worktrees:
    """Makes worktrees of one repository; `scratch` holds the private clone and belongs to the caller."""

    def __init__(self, repository_git_dir: Path, scratch: Path) -> None:
        self.source = find_git_dir(repository_git_dir)
        self.clone = scratch.resolve() / "worktrees.git"
        if not self.clone.exists():
            scratch.mkdir(parents=True, exist_ok=True)
            self._git("clone", "--quiet", "--bare", "--shared", "--", str(self.source), str(self.clone), at=scratch)

    def materialize(self, tree: Tree, into: Path) -> Path:
        """Check `tree` out into the folder `into`, which must not exist or be empty; every file has a fresh time.

        Raises UserError for a revision that is not there or an overlay path that leaves the tree.
        """
        return self.begin(tree, into).finish()

    def begin(self, tree: Tree, into: Path) -> Checkout:
        """Begin to check `tree` out, as `materialize` does; the folder is there at once, its files later.

        Raises UserError for a name of a revision that is not there; of a full id that is told by `finish`.
        """
        into = into.resolve()
        into.parent.mkdir(parents=True, exist_ok=True)
        commit = tree.revision if _FULL_ID.match(tree.revision) else self._resolve(tree.revision)
        if into.exists() and any(into.iterdir()):
            raise InfrastructureError(f"{into} is not empty")
        made = not into.exists()
        return Checkout(self, tree, into, made, self._check_out(into, commit))

    def remove(self, worktree: Path) -> None:
        """Remove a worktree, whatever is left of it, and forget it."""
        _remove_folder(worktree)
        for private in self._private(worktree):
            _remove_folder(private)

    def _check_out(self, into: Path, commit: str) -> _Git:
        """What `git worktree add --detach` does, in one process of git for its four (gitrepository-layout(5))."""
        into.mkdir(exist_ok=True)
        into.chmod(0o755)
        private = self._new_private(into, commit)
        link = into / ".git"
        link.write_text(f"gitdir: {private}\n")
        link.chmod(0o644)
        return _Git("read-tree", "--reset", "-u", f"{commit}^{{commit}}", at=into)

    def explain(self, revision: str) -> None:
        """Raise UserError where the revision is not there."""
        self._resolve(revision)

    def _new_private(self, into: Path, commit: str) -> Path:
        """The worktree's own git directory, in the clone."""
        every = self.clone / "worktrees"
        every.mkdir(exist_ok=True)
        private = Path(tempfile.mkdtemp(prefix=f"{into.name}-", dir=every))
        private.chmod(0o755)
        for name, content in (("HEAD", commit), ("commondir", "../.."), ("gitdir", into / ".git")):
            (private / name).write_text(f"{content}\n")
            (private / name).chmod(0o644)
        return private

    def _private(self, worktree: Path) -> list[Path]:
        """The git directories in the clone that say they are this worktree's."""
        wanted = str(worktree.resolve() / ".git")
        return [one.parent for one in self.clone.glob("worktrees/*/gitdir") if one.read_text().strip() == wanted]

    def _resolve(self, revision: str) -> str:
        if revision.startswith("-") or not revision.strip():
            raise UserError(f"{revision!r} is not a revision; give a commit, tag or branch")
        for folder in (self.clone, self.source):
            with contextlib.suppress(InfrastructureError):
                name = revision + "^{commit}"
                found = self._git("rev-parse", "--verify", "--quiet", "--end-of-options", name, at=folder)
                return found.strip().splitlines()[-1]
        raise UserError(f"revision {revision!r} is not in {self.source}; fetch it, or check the name")

    @staticmethod
    def _git(*arguments: str, at: Path) -> str:
        return _Git(*arguments, at=at).end()


class Checkout:
    """A worktree in the making. Whoever began it must `finish` it, however often."""

    def __init__(self, worktrees: Worktrees, tree: Tree, path: Path, made: bool, git: _Git) -> None:
        self.path = path
        self._worktrees, self._tree, self._made, self._git = worktrees, tree, made, git
        self._finished = False

    def finish(self) -> Path:
        """Wait for its files and put the overlay's over them; what cannot be had is removed.

        Raises UserError for a revision that is not there or an overlay path that leaves the tree.
        """
        if self._finished:
            return self.path
        self._finished = True
        try:
            self._git.end()
            overlay(self.path, self._tree.overlay)
        except (ButforError, OSError) as error:
            self._worktrees.remove(self.path)
            if not self._made:
                self.path.mkdir()
            if isinstance(error, InfrastructureError):
                self._worktrees.explain(self._tree.revision)
            raise
        return self.path


class _Git:
    """A git that was started; nothing but our own configuration reaches it."""

    def __init__(self, *arguments: str, at: Path) -> None:
        options = [part for setting in (*SAFE_CONFIG, *_CHECKOUT_CONFIG) for part in ("-c", setting)]
        environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": os.devnull, **SAFE_ENVIRONMENT}
        self._name = arguments[0]
        try:
            self._process = subprocess.Popen(
                ["git", *options, *arguments], cwd=at, env=environment, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace", umask=0o022,
            )  # fmt: skip
        except FileNotFoundError as error:
            raise UserError("git is not installed; install the package git") from error

    def end(self) -> str:
        """What it said, once it has ended well; InfrastructureError otherwise."""
        try:
            said, complaint = self._process.communicate(timeout=_SECONDS)
        except BaseException as error:
            self._process.kill()
            self._process.communicate()
            if isinstance(error, subprocess.TimeoutExpired):
                raise InfrastructureError(f"git {self._name} took longer than {_SECONDS} s") from error
            raise
        if self._process.returncode != 0:
            reason = (complaint.strip().splitlines() or ["no message"])[-1]
            raise InfrastructureError(f"git {self._name} failed: {reason[:300]}")
        return said


def overlay(worktree: Path, files: dict[str, bytes | None]) -> None:
    """Replace (or, for None, delete) files of a worktree; a path that would leave it is a UserError."""
    for path, content in files.items():
        target = _checked(worktree, path)
        mode = None
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            mode = target.lstat().st_mode
        if mode is not None and stat.S_ISDIR(mode):
            raise UserError(f"the overlay's path {path!r} is a folder in this revision; name a file")
        if mode is not None:
            target.unlink()
        if content is not None:
            _make_folders(worktree, target.parent)
            target.write_bytes(content)
            target.chmod(stat.S_IMODE(mode) if mode is not None and stat.S_ISREG(mode) else 0o644)


def _make_folders(worktree: Path, folder: Path) -> None:
    """Make folders that the sandbox's user may enter, whatever our umask is."""
    for step in reversed([folder, *folder.parents]):
        if step.is_relative_to(worktree) and not step.exists():
            step.mkdir()
            step.chmod(0o755)


def _checked(worktree: Path, path: str) -> Path:
    """The host path of a repository path; no absolute path, no `..`, no `.git`, no step through a link."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\0" in path or any(p == ".." or p.lower() == ".git" for p in parts):
        raise UserError(f"the overlay's path {path!r} leaves the worktree; give a path inside the repository")
    place = worktree
    for part in parts[:-1]:
        place = place / part
        if place.is_symlink():
            raise UserError(f"the overlay's path {path!r} goes through a link; name the file itself")
    return place / parts[-1]


def git_folders(worktree: Path) -> list[Path]:
    """What git needs besides a worktree that we made: its git directory and the object stores that it borrows.

    For programs that ask git for a version while they are set up. [] where the folder is no linked worktree.
    """
    link = worktree / ".git"
    if link.is_symlink() or not link.is_file():
        return []
    private = Path(link.read_text().removeprefix("gitdir:").strip())
    common = private.parent.parent
    found, waiting = [common], [common / "objects"]
    while waiting and len(found) < 16:
        alternates = waiting.pop() / "info" / "alternates"
        if alternates.is_file():
            waiting += [Path(line) for line in alternates.read_text().splitlines() if line.startswith("/")]
            found += waiting
    return [folder for folder in dict.fromkeys(found) if folder.is_dir()]


def _remove_folder(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
