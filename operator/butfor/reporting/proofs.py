"""Replaying what a verdict claims, from its reproduction, its patch and the revisions alone.

Everything in the folder is hostile input: counts and claims in it say only what is to be replayed. Trees are run as
commits without parents in a private clone, so that a test cannot answer by the name or the history of a revision.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from git.exc import GitCommandError
from pydantic import ValidationError

from butfor.errors import InconclusiveError, InfrastructureError, UserError
from butfor.evidence.runs import Tree
from butfor.evidence.verdicts import Counterfactual, Verdict
from butfor.ports.patches import MAXIMUM_PATCH, apply_patch
from butfor.ports.repositories import Repository
from butfor.reporting.conditions import CONDITIONS
from butfor.reporting.stopping import stopped_tree

Answer = Literal["good", "bad", "cannot tell"]
Runner = Callable[[str], Answer]
"""Runs the reproduction on a commit of the private clone."""
Search = Callable[[Callable[[Tree], str], str, str, str], Counterfactual]
"""Derives the claims anew: from what answers of a tree, the culprit, good and bad."""
MAXIMUM_FILES, MAXIMUM_BYTES = 2_000, 256 * 1024 * 1024


@dataclass(frozen=True)
class Proof:
    """One claim replayed. `held` is None when the runs cannot tell; `details` has one line per run."""

    name: str
    held: bool | None
    method: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True)
class Folder:
    """What a verdict's folder gives: its claims, both ends of the range, and the patch (None: there is none)."""

    verdict: Verdict
    good: str
    bad: str
    patch: bytes | None


def read_folder(out: Path, good: str | None = None, bad: str | None = None) -> Folder:
    """Read a folder of `butfor investigate`; Named ends win over the folder's.

    UserError where it is no such folder, InconclusiveError where it claims nothing that can be run.
    """
    try:
        verdict = Verdict.model_validate_json(_read(out, "verdict.json", 64 * 1024 * 1024))
    except ValidationError as error:
        raise UserError(f"{out}/verdict.json is not a verdict: {error.errors()[0]['msg']}; investigate again") from None
    if not (out / "repro" / "plan.json").is_file():
        if verdict.claim in {"None", "Suspected"} and not verdict.patch.verified:
            raise InconclusiveError(f"the verdict claims nothing that runs could show: {verdict.reason[:300]}")
        raise UserError(f"{out} has no reproduction (repro/plan.json), so there is nothing to replay")
    try:
        plan = json.loads(_read(out, "repro/plan.json", 64 * 1024 * 1024))
        ends = [str(good or plan["good"]), str(bad or plan["bad"])]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UserError(f"{out}/repro/plan.json does not name both revisions; give --good and --bad") from None
    patch = _read(out, verdict.patch.path, MAXIMUM_PATCH) if verdict.patch.path else None
    return Folder(verdict, ends[0], ends[1], patch)


def _read(out: Path, name: str, maximum: int) -> bytes:
    path = out / name
    if not path.resolve().is_relative_to(out.resolve()):
        raise UserError(f"{name} is outside of {out}; the folder is not replayed")
    if not path.is_file():
        raise UserError(f"{out} has no {name}; give the folder that butfor investigate wrote")
    if path.stat().st_size > maximum:
        raise UserError(f"{path} is larger than {maximum} bytes; it is not read")
    return path.read_bytes()


def copy_reproduction(out: Path, target: Path, name: str = "repro") -> None:
    """Copy `repro/` (or `healed/`) without following links; UserError for links, devices, or an implausible size."""
    size = 0
    for number, (path, relative) in enumerate(_walk(out / name)):
        size += path.stat().st_size if path.is_file() else 0
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise UserError(f"{path} is neither a file nor a folder; the reproduction is not run")
        if number > MAXIMUM_FILES or size > MAXIMUM_BYTES:
            raise UserError(f"{out}/repro is larger than a reproduction is; it is not run")
        if path.is_dir():
            (target / relative).mkdir(parents=True)
        else:
            shutil.copy(path, target / relative)


def _walk(top: Path) -> Iterator[tuple[Path, Path]]:
    yield top, Path()
    for folder, names, files in os.walk(top):
        for name in sorted(names) + sorted(files):
            yield Path(folder, name), Path(folder, name).relative_to(top)


class Replay:
    """Replays claims of one folder against one repository."""

    def __init__(
        self, folder: Folder, repository: Repository, run: Runner, repeats: int = 3, *, healed: Runner | None = None,
        search: Search | None = None,
    ) -> None:  # fmt: skip
        self.folder, self.repository, self.run, self.repeats = folder, repository, run, repeats
        self.healed, self.search = healed, search
        self.good, self.bad = repository.resolve(folder.good), repository.resolve(folder.bad)
        self.salt = secrets.token_hex(8)
        self._found: Counterfactual | None = None

    def proofs(self) -> Iterator[Proof]:
        """Every claim of the verdict, replayed in turn."""
        verdict = self.folder.verdict
        facts, proved = verdict.counterfactual, verdict.claim == "Proved"
        if verdict.outcome in CONDITIONS:
            yield from self.conditions()
            return
        first = self.reproduction()
        yield first
        yield self.labels()
        yield from self.running(told=first.held is not None)
        if proved or verdict.claim == "Bisected" or facts.transition.held:
            yield self.transition()
        if proved or facts.necessary.held:
            yield self.necessary()
        if proved or facts.sufficient.held:
            yield self.sufficient()
        if verdict.patch.verified:
            yield self.patch()

    def reproduction(self) -> Proof:
        """The failure happens at bad and not at good, every time."""
        method = f"bad and good were run {self.repeats} times each"
        wanted: list[tuple[str, str, Answer]] = [
            ("bad", self.plain(self.bad), "bad"), ("good", self.plain(self.good), "good"),
        ]  # fmt: skip
        return self._expect("reproduction", method, wanted * self.repeats)

    def conditions(self) -> Iterator[Proof]:
        """Where no commit is to blame: good fails like bad, and bad is well with the one thing set to health."""
        wanted: list[tuple[str, str, Answer]] = [
            ("bad", self.plain(self.bad), "bad"), ("bad with noise", self.noisy(self.bad), "bad"),
        ]  # fmt: skip
        yield self._expect("reproduction", "bad was run under the conditions as captured", wanted * self.repeats)
        if self.healed is None:
            yield Proof("necessary", held=False, method="the healthy value put back", details=("there is no healed/",))
        else:
            method = "bad was run with the healthy value put back"
            wanted = [(one, commit, "good") for one, commit, _ in wanted]
            yield self._expect("necessary", method, wanted * self.repeats, self.healed)
        method = "good was run under the conditions as captured"
        yield self._expect("sufficient", method, [("good", self.plain(self.good), "bad")] * self.repeats)

    def labels(self) -> Proof:
        """The same trees with a file added that no service reads, at places that nothing can know."""
        method = "bad and good were run as other trees: one file of noise added, no history"
        return self._expect(
            "not by name", method,
            [("bad with noise", self.noisy(self.bad), "bad"), ("good with noise", self.noisy(self.good), "good")],
        )  # fmt: skip

    def running(self, *, told: bool) -> Iterator[Proof]:
        """The test must run the code: where nothing starts, though every word is still there, it cannot tell.

        Nothing is said of repositories without Python. `told`: the test can tell anything at all.
        """
        method, details = "bad and good were run with every Python file stopped at its first line", list[str]()
        held = True if told else None
        for label, revision in (("bad", self.bad), ("good", self.good)):
            stopped = stopped_tree(self.repository, revision, self.salt)
            if stopped is None:
                return
            seen = self.run(self._commit(stopped))
            details.append(f"{label}, stopped: {seen}")
            held = held if seen == "cannot tell" else False
        yield Proof("not by reading", held=held, method=method, details=tuple(details))

    def transition(self) -> Proof:
        """Every parent of the culprit is good, and the culprit bad."""
        method = "the culprit and each of its parents were run"
        found = self._culprit()
        if isinstance(found, str):
            return Proof("transition", held=False, method=method, details=(found,))
        culprit, parents = found
        wanted: list[tuple[str, str, Answer]] = [(f"parent {sha}", self.plain(sha), "good") for sha in parents]
        return self._expect("transition", method, [*wanted, (f"culprit {culprit}", self.plain(culprit), "bad")])

    def necessary(self) -> Proof:
        """Bad without the culprit's change heals."""
        found = self._culprit()
        if isinstance(found, str):
            return Proof("necessary", held=False, method="3-way", details=(found,))
        culprit, parents = found
        merged = self._merged("necessary", "bad without the culprit", (culprit, self.bad, parents[0]), "good")
        return self._searched(merged, culprit)

    def sufficient(self) -> Proof:
        """Good with only the culprit's change fails."""
        found = self._culprit()
        if isinstance(found, str):
            return Proof("sufficient", held=False, method="3-way", details=(found,))
        culprit, parents = found
        merged = self._merged("sufficient", "good with the culprit only", (parents[0], self.good, culprit), "bad")
        return self._searched(merged, culprit)

    def _searched(self, merged: Proof, culprit: str) -> Proof:
        """Where one merge does not show it, the claim may rest on a part, or on company: it is looked for anew."""
        if merged.held or self.search is None:
            return merged
        if self._found is None:
            self._found = self.search(self._answer, culprit, self.good, self.bad)
        claim = self._found.necessary if merged.name == "necessary" else self._found.sufficient
        details = (*merged.details, *claim.details[-6:], *([claim.reason] if claim.reason else []))
        return Proof(merged.name, held=claim.held, method=claim.method or merged.method, details=details)

    def _answer(self, tree: Tree) -> str:
        return self.run(self._commit(self._tree(tree.revision, tree.overlay)))

    def patch(self) -> Proof:
        """Bad with the patch heals, and the patch changes something inside the repository."""
        method = "the patch was applied to bad, and the tree run"
        try:
            patched = apply_patch(self.repository, Tree(revision=self.bad), self.folder.patch or b"")
        except UserError as error:
            return Proof("patch", held=False, method=method, details=(str(error),))
        if not patched.overlay:
            return Proof("patch", held=False, method=method, details=("the patch changes nothing",))
        commit = self._commit(self._tree(self.bad, patched.overlay))
        changed = "changes " + ", ".join(sorted(patched.overlay)[:5])
        proof = self._expect("patch", method, [("bad with the patch", commit, "good")] * self.repeats)
        return replace(proof, details=(changed, *proof.details))

    def plain(self, revision: str) -> str:
        """A commit of the same tree without parents, and without anything of the revision's own."""
        return self._commit(f"{revision}^{{tree}}")

    def noisy(self, revision: str) -> str:
        """Such a commit with a file of noise added, so that the tree's id is another one too."""
        return self._commit(self._tree(revision, {f".noise-{self.salt}": self.salt.encode()}))

    def _culprit(self) -> tuple[str, list[str]] | str:
        """The culprit and its parents, or why it cannot be one."""
        named = self.folder.verdict.bisection.first_bad
        if not named:
            return "the verdict names no first bad commit"
        try:
            culprit = self.repository.resolve(named)
        except UserError as error:
            return str(error)
        if not self.repository.is_ancestor(culprit, self.bad) or self.repository.is_ancestor(culprit, self.good):
            return f"{culprit} is not between good and bad"
        parents = self.repository.parents(culprit)
        return (culprit, parents) if parents else f"{culprit} has no parent to compare with"

    def _merged(self, name: str, label: str, trees: tuple[str, str, str], wanted: Answer) -> Proof:
        """Run what the change base..theirs makes of ours; files in conflict stay as ours has them."""
        base, ours, theirs = trees
        merged = self.repository.merge_files(base, ours, theirs)
        if not merged.files:
            why = "conflicts everywhere" if merged.conflicts else "the change makes no difference there"
            return Proof(name, held=None if merged.conflicts else False, method=f"3-way: {label}", details=(why,))
        commit = self._commit(self._tree(ours, merged.files))
        proof = self._expect(name, f"3-way: {label}", [(label, commit, wanted)])
        if not merged.conflicts:
            return proof
        left = "left out, in conflict: " + ", ".join(merged.conflicts[:5])
        return replace(proof, held=proof.held or None, details=(left, *proof.details))

    def _expect(
        self, name: str, method: str, wanted: list[tuple[str, str, Answer]], run: Runner | None = None
    ) -> Proof:
        """Run commits in turn until one answers otherwise."""
        details, held = [], True
        for label, commit, answer in wanted:
            seen = (run or self.run)(commit)
            details.append(f"{label}: {seen}")
            if seen == "cannot tell":
                return Proof(name, held=None, method=method, details=tuple(details))
            held = seen == answer
            if not held:
                break
        return Proof(name, held=held, method=method, details=tuple(details))

    def _commit(self, tree: str) -> str:
        with _explained():
            return str(self.repository.git.commit_tree(tree, "-m", "tree")).strip()

    def _tree(self, revision: str, overlay: dict[str, bytes | None]) -> str:
        """Write a tree through an index of its own; modes of files that exist are kept."""
        git = self.repository.git
        with tempfile.TemporaryDirectory(prefix="butfor-tree-") as name:
            scratch = Path(name)
            with _explained(), git.custom_environment(GIT_INDEX_FILE=str(scratch / "index")):
                git.read_tree(revision)
                # what goes first, goes away: a file may make room for a folder of its name
                ordered = sorted(overlay.items(), key=lambda item: item[1] is not None)
                entries = [self._entry(revision, path, content, scratch) for path, content in ordered]
                (scratch / "entries").write_bytes(b"".join(entries))
                with (scratch / "entries").open("rb") as stream:
                    git.update_index("-z", "--index-info", istream=stream)
                return str(git.write_tree()).strip()

    def _entry(self, revision: str, path: str, content: bytes | None, scratch: Path) -> bytes:
        """A line of `git update-index --index-info`; mode 0 removes the path."""
        git = self.repository.git
        known = str(git.ls_tree("-z", revision, "--", path)).split()
        mode = known[0] if known and known[0] in {"100644", "100755", "120000"} else "100644"
        (scratch / "content").write_bytes(content or b"")
        blob = str(git.hash_object("-w", "--no-filters", "--", str(scratch / "content"))).strip()
        return f"{'0' if content is None else mode} {blob}\t{path}\0".encode("utf-8", "surrogateescape")


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except GitCommandError as error:
        raise InfrastructureError(f"git could not write a tree: {str(error.stderr).strip()[:300]}") from error


def exit_code(proofs: list[Proof]) -> int:
    """0 when every claim held, 1 when one did not, 3 when one cannot be told."""
    if not proofs:
        raise InfrastructureError("no claim was replayed")
    if any(proof.held is False for proof in proofs):
        return 1
    return 3 if any(proof.held is None for proof in proofs) else 0
