"""The tree at bad: sources of its code files, read when asked for, and who mentions and calls what."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import PurePosixPath

from butfor.evidence.suspects import FunctionRef
from butfor.locating.blocks import Parser
from butfor.locating.kinds import kind_of
from butfor.locating.lexicons import Telling
from butfor.locating.sources import MODULE, PYTHON, Region, Source, read
from butfor.ports.repositories import Repository

Key = tuple[str, str]
"""A region: the file's path at bad, and the dotted name within the module (empty: the module's own level)."""
MOST_FILES = 400


class Tree:
    """Sources at one revision. `first` are the files to read first where the tree is too large to read whole."""

    def __init__(
        self, repository: Repository, revision: str, first: Iterable[str], directory: str, parser: Parser
    ) -> None:
        self._repository, self._revision, self._parser = repository, revision, parser
        self.files = set(repository.files(revision))
        self._sources: dict[str, Source] = {}
        near = [path for path in dict.fromkeys(first) if path in self.files]
        folders = {str(PurePosixPath(path).parent) for path in near}
        far = sorted(self.files - set(near), key=lambda p: (str(PurePosixPath(p).parent) not in folders, p))
        prefix = "" if directory in ("", ".") else directory.strip("/") + "/"
        wanted = [*near, *(p for p in far if p.startswith(prefix))]
        self._order = [p for p in wanted if p.endswith(PYTHON) and kind_of(p) == "code"][:MOST_FILES]

    def source(self, path: str) -> Source:
        """A file's regions; none where there is no such file."""
        if path not in self._sources:
            raw = self._repository.show(self._revision, path) if path in self.files else None
            self._sources[path] = Source() if raw is None else read(raw.decode("utf-8", "replace"), path, self._parser)
        return self._sources[path]

    def locate(self, path: str, line: int) -> tuple[Key, Region] | None:
        """The region at a line."""
        region = self.source(path).at(line)
        return ((path, region.name), region) if region else None

    def regions(self) -> Iterator[tuple[Key, Region]]:
        """Every region of the code files that are read."""
        for path in self._order:
            for region in self.source(path).regions:
                yield (path, region.name), region

    @cached_property
    def mentions(self) -> dict[Key, frozenset[str]]:
        """The names that each region mentions."""
        found: dict[Key, frozenset[str]] = {}
        for key, region in self.regions():
            found[key] = region.tokens
        return found

    @cached_property
    def mentioned_in(self) -> dict[str, list[Key]]:
        """The regions that mention a name."""
        found: dict[str, list[Key]] = defaultdict(list)
        for key, names in self.mentions.items():
            for name in names:
                found[name].append(key)
        return found

    @cached_property
    def by_last_name(self) -> dict[str, list[Key]]:
        """Functions and classes by the last part of their names."""
        found: dict[str, list[Key]] = defaultdict(list)
        for key, region in self.regions():
            if region.name != MODULE:
                found[region.name.rsplit(".", 1)[-1]].append(key)
        return found

    @cached_property
    def telling(self) -> Telling:
        """How telling a name is among the regions of this tree."""
        telling = Telling()
        for names in self.mentions.values():
            telling.add(names)
        return telling

    def reference(self, key: Key) -> FunctionRef | None:
        """A region as a function of the verdict; module levels and class bodies have none of their own."""
        path, name = key
        region = self.source(path).by_name.get(name)
        if region is None:
            return None
        return FunctionRef(name=self.dotted(key), file=path, line=region.line)

    def dotted(self, key: Key) -> str:
        """`pkg.module.Class.method`; the package begins where the `__init__.py` files do."""
        path, name = key
        parts = list(PurePosixPath(path).with_suffix("").parts) if path.endswith(PYTHON) else [path]
        start = len(parts) - 1
        while start > 0 and "/".join([*parts[:start], "__init__.py"]) in self.files:
            start -= 1
        module = parts[start:]
        if len(module) > 1 and module[-1] == "__init__":
            module.pop()
        return ".".join([*module, name] if name else module)
