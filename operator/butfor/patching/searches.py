"""Looking for a tree with a change moved that is judged as wanted: taken out of bad, or put into good.

The most faithful ways come first: the whole change, then parts of it, then single statements, then the change together
with the commits that it cannot be parted from. A tree counts only with its controls (`attempts`), each run as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from butfor.evidence.predicates import Judgement
from butfor.evidence.runs import Tree
from butfor.evidence.suspects import FunctionRef
from butfor.patching import companions, pieces
from butfor.patching.attempts import Attempt, Control, parts, plain, styled, without_removals
from butfor.patching.companions import Chain, Company
from butfor.patching.transfers import Change, View
from butfor.patching.trying import Healing, Tries

TESTS_OF_SETS = 150
"""Sets of earlier commits tried at most when thinning; most of them conflict and cost no run."""
SETS_OF_UNITS = 30
LEVELS = 6
"""How deep parts of parts are tried."""


@dataclass
class Search:
    """One direction of one change. `forward`: out of bad, wanted good; else into good, wanted bad.

    `healing`: every tree that was judged as wanted, whether or not its controls let it count.
    """

    change: Change
    chain: Chain
    tries: Tries
    hints: Sequence[FunctionRef] = ()
    watch: Callable[[str], None] = lambda _: None
    refuted: str = ""
    doubts: list[str] = field(default_factory=list)
    healing: list[Healing] = field(default_factory=list)

    @property
    def forward(self) -> bool:
        """Whether the change is taken out of bad."""
        return self.chain.forward

    @property
    def wanted(self) -> Judgement:
        """What a tree with the change moved should be judged."""
        return "good" if self.forward else "bad"

    @property
    def opposite(self) -> Judgement:
        """What it is judged before."""
        return "bad" if self.forward else "good"

    @property
    def base(self) -> View:
        """The tree that the change is moved into."""
        return View(self.chain.repository, Tree(revision=self.chain.bad if self.forward else self.chain.good))

    def find(self) -> Healing | None:
        """The first tree that counts; None sets `refuted` where the whole change was moved and made no difference."""
        for attempt in self._whole():
            judgement = self._try(attempt)
            if judgement == self.wanted and self._counts(attempt):
                return self.healing[-1]
            if judgement == self.opposite and attempt.complete:
                self.refuted = self.refuted or attempt.method
        if self.refuted and self.forward:
            return None
        return self._parts() or (self._statements() if self.forward else None) or self._accompanied()

    def _whole(self) -> Iterator[Attempt]:
        attempt, why = plain(self.change, self.base.tree.revision)
        if attempt:
            yield attempt
        else:
            self.tries.log.append(why)
        attempts = list(styled(self.change, self.base))
        kept = without_removals(self.change)
        if kept:
            attempts += styled(self.change, self.base, kept)
        # the whole change first: a part that has no conflict may heal by chance of where conflicts stand
        yield from sorted(attempts, key=lambda attempt: not attempt.complete)

    def _note(self, words: str, reason: str = "") -> None:
        self.tries.log.append(f"{words} ({reason[:300]})" if reason else words)
        self.watch(self.tries.log[-1])

    def _try(self, attempt: Attempt) -> Judgement:
        outcome = self.tries.confirmed(attempt.tree, self.wanted, healthy=self.forward)
        reason = "; ".join(part for part in (attempt.reason, outcome.reason) if part)
        self._note(f"{attempt.method}: {outcome.judgement}", reason)
        if outcome.judgement == self.wanted:
            self.healing.append(Healing(attempt.tree, attempt.origin, self._named(attempt), attempt.complete))
        return outcome.judgement

    def _named(self, attempt: Attempt) -> str:
        """The method, with the other commits whose changes went with it."""
        others = self.chain.changing(attempt.restored) if attempt.restored else []
        names = ", ".join(sha[:12] for sha in others[:8]) + (", ..." if others[8:] else "")
        return f"{attempt.method}, with what {names} changed in them" if others else attempt.method

    def _counts(self, attempt: Attempt) -> bool:
        return all(self._controlled(attempt, control) for control in attempt.controls)

    def _controlled(self, attempt: Attempt, control: Control) -> bool:
        expected = self.wanted if control.expected == "as wanted" else self.opposite
        outcome = self.tries.confirmed(control.tree, expected, healthy=False)
        self._note(f"control of that, {control.words}: {outcome.judgement}", outcome.reason)
        if outcome.judgement != expected:
            self.doubts.append(f"{attempt.method}: {control.words}, is {outcome.judgement} where {expected} is needed")
        return outcome.judgement == expected

    def _holds(self, attempt: Attempt) -> bool:
        return not self.tries.exhausted and self._try(attempt) == self.wanted and self._counts(attempt)

    def _parts(self) -> Healing | None:
        """Some functions' share of the change is enough."""
        for units in parts(self.change, self.hints)[:SETS_OF_UNITS]:
            for attempt in styled(self.change, self.base, units):
                if self._holds(attempt):
                    return self.healing[-1]
        return None

    def _statements(self) -> Healing | None:
        """Some statements are enough, larger parts first; nothing below a part that makes no difference is tried."""
        groups = pieces.roots(self.change, self.hints)
        whole = sum(pieces.count(group) for group in groups)
        for level in groups:
            found = self._descend(level, whole)
            if found:
                return found
        return None

    def _descend(self, level: list[pieces.Piece], whole: int) -> Healing | None:
        for _ in range(LEVELS):
            below: list[pieces.Piece] = []
            for piece in level:
                if self.tries.exhausted:
                    return None
                attempt = pieces.moved(self.change, self.base, piece, whole)
                if attempt is not None and self._holds(attempt):
                    return self.healing[-1]
                if attempt is None or self.tries.judge(attempt.tree) != self.opposite:
                    below += pieces.smaller(piece)
            level = below
        return None

    def _accompanied(self) -> Healing | None:
        """With the smallest set of neighbouring commits that it cannot be parted from."""
        for start in self._starts():
            company = companions.close(self.chain, self.change, self.base, start)
            if company is None:
                self.tries.log.append("with companions: its hunks have no place even so")
                continue

            def make(some: list[str]) -> Company:
                return companions.assemble(self.chain, self.change, self.base, some)

            found = self._fewest(company.commits, make)
            if found:
                return found
        return None if self.forward else self._thinned()

    def _starts(self) -> Iterator[list[str]]:
        yield []
        if not self.forward:
            named = companions.introducers(self.chain, self.change, self.base)
            if named:
                yield named[: companions.LIMIT]

    def _company_method(self, commits: list[str], whole: int) -> str:
        kind = "later commits that build on it" if self.forward else "earlier commits that it needs"
        count = f"{len(commits)} of {whole}" if whole else str(len(commits))
        names = ", ".join(sha[:12] for sha in commits[:12]) + (", ..." if commits[12:] else "")
        return f"with {count} {kind}: {names}"

    def _accompanies(self, company: Company, whole: int, *, controlled: bool = True) -> bool:
        """The set with the culprit is judged as wanted; and, where asked for, the set alone the opposite way."""
        if company.conflicts:
            return False
        method = self._company_method(company.commits, whole)
        alone = Control(company.alone.tree, "opposite", "the other commits moved alone")
        controls = (alone,) if company.commits else ()
        attempt = Attempt(company.together.tree, method, "hunks", complete=True, controls=controls)
        return self._try(attempt) == self.wanted and (not controlled or self._counts(attempt))

    def _thinned(self) -> Healing | None:
        """From the other end: the culprit's parent is good plus all earlier commits; leave out what is not needed.

        Where nothing can be left out there is no claim: it would say no more than the transition does.
        """

        def make(some: list[str]) -> Company:
            return companions.without(self.chain, self.change, some)

        needed = [sha for sha in self.chain.commits if self.chain.change(sha).units]
        whole = len(self.chain.commits)
        found = self._fewest(needed, make, whole)
        return None if found is None or found.companions == whole else found

    def _fewest(self, commits: list[str], make: Callable[[list[str]], Company], whole: int = 0) -> Healing | None:
        """The fewest of these companions that do; each tree is run once in the search, and the result confirmed.

        Controls are run for the result only; where they fail there, once more for every set on the way.
        """
        for controlled in (False, True):
            kept = self._thinner(commits, make, whole, controlled=controlled)
            if not kept:
                return None
            company = make(kept)
            if self._accompanies(company, whole):
                method = self._company_method(kept, whole)
                return Healing(company.together.tree, "hunks", method, complete=True, companions=len(kept))
        return None

    def _thinner(
        self, commits: list[str], make: Callable[[list[str]], Company], whole: int, *, controlled: bool
    ) -> list[str]:
        left = [TESTS_OF_SETS]

        def works(some: list[str]) -> bool:
            left[0] -= 1
            if not some or left[0] < 0 or self.tries.nearly_exhausted:
                return False
            return self._accompanies(make(some), whole, controlled=controlled)

        with self.tries.singly():
            return companions.fewer(commits, works) if works(commits) else []
