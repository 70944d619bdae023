"""Reading sources and edits: what counts as a change, and what does not."""

import ast
import difflib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from butfor.locating.edits import by_lines, by_regions, undo, without_moves
from butfor.locating.kinds import kind_of
from butfor.locating.lexicons import Telling, ancestry, families_of, fold, parts
from butfor.locating.renames import renamed
from butfor.locating.routes import serves, template
from butfor.locating.sources import read
from butfor.ports.diffs import FileChange, Hunk

LINES = st.lists(
    st.sampled_from(["a = 1", "b = a", "def f(x):", "    return x", "", "# note", "if a:", "    f(b)"]), max_size=14
)


def hunks(old: list[str], new: list[str]) -> list[Hunk]:
    """Hunks without context, with git's convention that an empty side stands after its line."""
    found = []
    for tag, i, j, k, m in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag != "equal":
            found.append(Hunk(i + 1 if j > i else i, j - i, k + 1 if m > k else k, m - k, old[i:j], new[k:m]))
    return found


def edits_of(old: str, new: str) -> list:
    change = FileChange("m.py", "m.py", hunks(old.split("\n"), new.split("\n")))
    return without_moves(by_regions(change, read(old, "m.py"), read(new, "m.py")))


@given(LINES, LINES)
def test_undo_gives_the_text_before(old: list[str], new: list[str]) -> None:
    before, after = ("".join(f"{line}\n" for line in lines) for lines in (old, new))
    assert undo(after, hunks(old, new)) == before


@given(LINES)
def test_every_line_has_a_region_and_statements_lie_in_theirs(lines: list[str]) -> None:
    source = read("\n".join(lines), "m.py")
    for number, line in enumerate(lines, 1):
        assert source.at(number) is not None or not line
    for region in source.regions:
        assert all(region.line <= s.line <= s.end <= region.end for s in region.statements)


SAMPLE = '''class A:
    """Doc."""

    def f(self, x: int = 1, *, y: "str" = "a") -> int:
        """Doc."""
        try:
            for i in range(x): self.g(i)
        except (KeyError, ValueError) as error:
            raise LookupError(y) from error
        return {"a": x, 'b': [i for i in y]}
'''


def test_layout_comments_docstrings_and_annotations_are_no_change() -> None:
    plain = (
        ast.unparse(ast.parse(SAMPLE)).replace(": int", "").replace(" -> int", "").replace('"""Doc."""', '"""Other."""')
    )
    assert edits_of(SAMPLE, plain) == []


def test_wrapping_in_try_changes_only_the_try() -> None:
    old = "def f(x):\n    return g(x)\n"
    new = "def f(x):\n    try:\n        return g(x)\n    except OSError:\n        return None\n"
    (edit,) = edits_of(old, new)
    assert sorted(s.text for s in edit.added) == ["except OSError", "return None", "try"]
    assert edit.removed == ()


ORDER = (
    "def push(self):\n    enter(self)\n    if self.session is None:\n        self.session = begin(self)\n{}    done()\n"
)
MATCH = "    if self.routes:\n        match(self)\n"


def test_a_statement_that_runs_earlier_than_before_is_a_change() -> None:
    old = ORDER.format(MATCH)
    new = ORDER.format("").replace("    if self.session", f"{MATCH}    if self.session")
    (edit,) = edits_of(old, new)
    assert [s.text for s in edit.fresh] == ["if self.routes", "match(self)"]
    assert edit.gone == ()


def test_the_order_of_a_modules_statements_is_layout() -> None:
    assert (
        edits_of("import os\nimport re\n\n\ndef f():\n    pass\n", "import re\nimport os\n\n\ndef f():\n    pass\n")
        == []
    )


def test_a_renamed_function_with_renamed_names_is_moved_not_written() -> None:
    old = "def old(file_name):\n    value = file_name.stat()\n    return value\n"
    new = "def new(filename):\n    value = filename.stat()\n    return value\n"
    edits = edits_of(old, new)
    assert [s.text for e in edits for s in (*e.fresh, *e.gone)] == []
    assert {e.region for e in edits} == {"old", "new"}


def test_a_changed_constant_is_a_change() -> None:
    (edit,) = edits_of("def f():\n    wait(0.5)\n", "def f():\n    wait(0.05)\n")
    assert [s.text for s in edit.fresh] == ["wait(0.05)"]


def test_a_changed_default_belongs_to_its_function() -> None:
    (edit,) = edits_of("def f(limit=5):\n    return limit\n", "def f(limit=7):\n    return limit\n")
    assert (edit.region, edit.fresh[0].text) == ("f", "def f(limit=7)")


def test_what_is_no_python_is_read_by_lines() -> None:
    change = FileChange("a.sql", "a.sql", [Hunk(1, 1, 1, 1, ["select 1"], ["select 2"])])
    (edit,) = by_lines(change)
    assert ([s.text for s in edit.added], [s.text for s in edit.removed]) == (["select 2"], ["select 1"])


@pytest.mark.parametrize("text", ["def f(:\n", "\0", "(" * 5000, "", "x = 1\r\n", "\ufeffx = 1"])
def test_no_text_breaks_the_reader(text: str) -> None:
    assert len(read(text, "m.py").regions) <= 1


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("pkg/app.py", "code"), ("tests/test_app.py", "test"), ("pkg/test_app.py", "test"), ("docs/conf.py", "text"),
        ("templates/a.html", "data"), ("config/prod.yaml", "data"), ("pyproject.toml", "dependency"),
        ("requirements/dev.txt", "dependency"), (".github/workflows/ci.yml", "text"), ("CHANGES.rst", "text"),
        (".env.production", "data"), ("src/main.go", "code"),
    ],
)  # fmt: skip
def test_kinds_of_files(path: str, kind: str) -> None:
    assert kind_of(path) == kind


@given(st.sets(st.sampled_from(["alpha", "beta", "gamma", "delta"])), st.integers(0, 30))
def test_telling_is_a_share_and_rarer_words_tell_more(document: set[str], others: int) -> None:
    telling = Telling()
    telling.add(document)
    for _ in range(others):
        telling.add({"alpha"})
    assert all(0.0 <= telling(word) <= 1.0 for word in ("alpha", "beta", "unseen"))
    assert telling("unseen") >= telling("alpha")


def test_families_and_spellings() -> None:
    assert "OSError" in ancestry("builtins.NotADirectoryError")
    assert [f.name for f in families_of(["httpx.ReadTimeout"])] == ["timeout"]
    assert "file" in {f.name for f in families_of(["NotADirectoryError"])}
    assert families_of([]) == []
    assert fold("charge-timeout") == fold("CHARGE_TIMEOUT") == fold("chargeTimeout")
    assert parts("HTTPNotFound") == ["http", "not", "found"]


@pytest.mark.parametrize(
    ("pattern", "route", "fits"),
    [
        (r"/(\.(?P<format>jsono?))?$", "/", True), (r"/(?P<db>[^\/\.]+)(\.(?P<format>\w+))?$", "/shop", True),
        ("/items/{id:int}", "/items/{item}", True), ("/items/<int:id>", "/items/7?page=2", True),
        ("/items/:id", "/items", False), ("/other", "/items", False), (r"^/api/v1/x/$", "/api/v1/x", True),
    ],
)  # fmt: skip
def test_route_patterns(pattern: str, route: str, fits: bool) -> None:
    assert (serves(template(pattern), template(route)) > 0) == fits


@given(st.text(alphabet="/(){}<>?*[]\\.^$ab:", max_size=60))
def test_no_pattern_breaks_the_route_reader(text: str) -> None:
    assert serves(template(text), template(text)) == 1.0


def test_files_that_no_one_wrote_are_read_by_a_bounded_beginning() -> None:
    text = "x = 1\n" * 100_000
    assert not read(text, "a.py").python
    change = FileChange("a.py", None, [Hunk(0, 0, 1, 100_000, [], text.splitlines())])
    edits = by_regions(change, read("", "a.py"), read(text, "a.py"))
    assert sum(len(e.added) for e in edits) <= 2000
    wide = by_lines(FileChange("a.py", None, [Hunk(0, 0, 1, 1, [], ["y = '" + "a" * 2_000_000 + "'"])]))
    assert len(wide[0].added[0].text) <= 1000


STORED = "def stored_file(path):\n    found = path.stat()\n    handle = path.open()\n    return found, handle\n"


def test_a_function_with_another_name_is_the_same_where_it_says_the_same() -> None:
    old, new = read(STORED, "a.py"), read(STORED.replace("stored_file", "file_of"), "a.py")
    assert renamed(old, new) == {"stored_file": "file_of"}


def test_a_function_that_says_something_else_is_another_one() -> None:
    other = "def stored_files(name):\n    table = name.upper()\n    return sorted(table, key=len, reverse=True)\n"
    assert renamed(read(STORED, "a.py"), read(other, "a.py")) == {}
    assert renamed(read(STORED, "a.py"), read(STORED + "\n\n" + other, "a.py")) == {}
