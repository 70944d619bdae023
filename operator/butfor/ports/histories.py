"""From an incident's `repository` to a git directory on this machine."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from git import Git
from git.exc import GitCommandError

from butfor.errors import UserError
from butfor.evidence.services import RepositoryRef
from butfor.ports.caches import cache_root
from butfor.ports.repositories import SAFE_CONFIG, SAFE_ENVIRONMENT, find_git_dir


def obtain(reference: RepositoryRef, *, case: Path, repos: Path | None) -> Path:
    """The git directory that a reference names.

    `path` and `bundle` and `patches` are relative to the incident's folder; `github: owner/name` is found as
    `REPOS/owner+name`. Bundles and patch series are unpacked once into the cache, keyed by their content.
    """
    if reference.path is not None:
        return find_git_dir(case / reference.path)
    if reference.github is not None:
        return _mirror(reference.github, repos)
    if reference.bundle is not None:
        return _unpacked(case / reference.bundle, _from_bundle)
    return _unpacked(case / str(reference.patches), _from_patches)


def _mirror(github: str, repos: Path | None) -> Path:
    if repos is None:
        raise UserError(f"{github} is wanted; give --repos DIR with a clone in DIR/{github.replace('/', '+')}")
    folder = repos / github.replace("/", "+")
    if not folder.is_dir():
        raise UserError(f"{folder} does not exist; clone {github} there (bare or not)")
    return find_git_dir(folder)


def _unpacked(source: Path, unpack: object) -> Path:
    if not source.exists():
        raise UserError(f"{source} does not exist; the incident's repository is incomplete")
    target = cache_root() / "histories" / _digest(source)
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            made = Path(scratch) / "history"
            try:
                unpack(source, made)  # type: ignore[operator]
            except GitCommandError as error:
                raise UserError(f"{source} is not a readable history: {str(error.stderr).strip()[:200]}") from error
            _publish(made, target)
    return find_git_dir(target)


def _publish(made: Path, target: Path) -> None:
    try:
        made.rename(target)
    except OSError:
        # another process unpacked the same content first
        shutil.rmtree(made, ignore_errors=True)


def _digest(source: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
        if path.is_file():
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:24]


def _git(folder: Path, **environment: str) -> Git:
    git = Git(str(folder))
    git.update_environment(**SAFE_ENVIRONMENT, **environment)
    git.set_persistent_git_options(c=list(SAFE_CONFIG))
    return git


def _from_bundle(source: Path, made: Path) -> None:
    _git(made.parent).clone("--quiet", "--bare", "--", str(source.resolve()), str(made))


def _from_patches(source: Path, made: Path) -> None:
    patches = sorted(str(path.resolve()) for path in source.iterdir() if path.suffix in (".patch", ".mbox"))
    if not patches:
        raise UserError(f"{source} holds no .patch files")
    made.mkdir()
    git = _git(made)
    git.init("--quiet", "--initial-branch=main")
    git.am("--quiet", "--committer-date-is-author-date", "--keep-cr", *patches)
